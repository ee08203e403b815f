"""Adam's step on the rows of an embedding table that were read, beside torch's own optimizers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from components.params import Clip, Optimizer
from components.training.optimizers import build_optimizer, clip_gradients
from components.training.rows import read_by_rows

EVERY_ROW = torch.tensor([[5, 4, 3], [2, 1, 0], [1, 5, 1]])
SOME_ROWS = torch.tensor([[1, 4, 1], [2, 1, 4]])


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.table(ids)).square().sum()


def pair() -> tuple[Reading, Reading]:
    """Two equal models, of which the first reads its table by rows."""
    torch.manual_seed(0)
    one = Reading()
    other = copy.deepcopy(one)
    read_by_rows(one.table)
    return one, other


def settings_of(name: str, weight_decay: float) -> Optimizer:
    return Optimizer(name=name, learning_rate=0.05, weight_decay=weight_decay, betas=(0.8, 0.99))  # pyright: ignore[reportArgumentType]


def steps(model: Reading, optimizer: torch.optim.Optimizer, parts: list[Tensor], clip: Clip | None = None) -> Tensor:
    norm = torch.zeros(())
    for _ in range(3):
        optimizer.zero_grad()
        for ids in parts:
            model(ids).backward()
        norm = clip_gradients(list(model.parameters()), clip)
        optimizer.step()
    return norm


@pytest.mark.parametrize("clip", [None, Clip(by="norm", limit=0.1), Clip(by="value", limit=0.1)], ids=str)
@pytest.mark.parametrize(("name", "weight_decay"), [("adamw", 0.3), ("adam", 0.3)])
def test_where_every_row_is_read_a_step_is_that_of_all_rows(name: str, weight_decay: float, clip: Clip | None) -> None:
    (one, other), settings = pair(), settings_of(name, weight_decay)
    parts = [EVERY_ROW[:2], EVERY_ROW[1:]]  # a batch in parts, whose gradients add up
    norms = [steps(m, build_optimizer(settings, m.named_parameters()), parts, clip) for m in (one, other)]
    torch.testing.assert_close(norms[0], norms[1])
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_rows_that_are_not_read_rest_as_in_sparse_adam() -> None:
    one, other = pair()
    read_by_rows(other.table)
    before = one.table.weight.detach().clone()
    rows = torch.optim.SparseAdam([other.table.weight], lr=0.05, betas=(0.8, 0.99))
    steps(one, build_optimizer(settings_of("adam", 0.0), [("table", one.table.weight)]), [SOME_ROWS])
    for _ in range(3):
        rows.zero_grad()
        other(SOME_ROWS).backward()
        rows.step()
    torch.testing.assert_close(one.table.weight, other.table.weight)
    rest = [0, 3, 5]
    assert torch.equal(one.table.weight[rest], before[rest])
    decayed, _ = pair()
    steps(decayed, build_optimizer(settings_of("adamw", 0.3), decayed.named_parameters()), [SOME_ROWS])
    assert torch.equal(decayed.table.weight[rest], before[rest]), "a row's decay rests, too"
    assert not torch.allclose(decayed.table.weight[1], before[1])
