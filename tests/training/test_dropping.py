import pytest
import torch
from torch.nn import functional

from components.training.dropping import draw, fast_masks

P = (0.0, 0.1, 0.25, 0.5, 0.9, 1.0)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_share_of_ones_is_the_probability_at_every_place_of_a_word(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = draw(torch.empty(100_000, 4, dtype=dtype), p).double()
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    assert found.mean(dim=0).tolist() == pytest.approx([p] * 4, abs=0.006)
    together = torch.corrcoef(found.T).nan_to_num() - torch.eye(4) * (0 < p < 1)
    assert together.abs().max() < 0.015


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_any_number_of_draws_can_be_made(size: int) -> None:
    assert draw(torch.empty(size), 1.0).tolist() == [1.0] * size


def test_tensor_whose_numbers_are_not_side_by_side_is_filled() -> None:
    tensor = torch.full((6, 8), 7.0).t()[::2]
    draw(tensor, 0.5)
    assert set(tensor.flatten().tolist()) == {0.0, 1.0}


def test_dropout_draws_by_it_within_the_block_and_by_torch_after() -> None:
    ones = torch.ones(64, 64)

    def dropped() -> torch.Tensor:
        torch.manual_seed(1)
        return functional.dropout(ones, 0.1)

    before = dropped()
    with fast_masks():
        within, again = dropped(), dropped()
    assert torch.equal(within, again)
    torch.manual_seed(1)
    assert torch.equal(within, draw(torch.empty(64, 64), 0.9) / 0.9)
    assert not torch.equal(within, before)
    assert torch.equal(dropped(), before)


def test_wrong_probability_is_refused() -> None:
    with pytest.raises(RuntimeError, match="p to be in"):
        draw(torch.empty(2), 1.5)
