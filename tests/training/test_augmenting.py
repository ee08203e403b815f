import numpy as np
import pytest
import torch
from scipy import ndimage

from components.params import Augment
from components.training.augmenting import draw_moves, move


def moved(image: np.ndarray, *, down: int = 0, right: int = 0, degrees: float = 0.0) -> np.ndarray:
    images = torch.from_numpy(image[None].astype(np.float32))
    return move(images, torch.tensor([[down, right, degrees]], dtype=torch.float64))[0].numpy()


IMAGE = np.random.default_rng(0).uniform(0, 255, size=(7, 5)).astype(np.float32)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (0, -1), (-3, 2)])
def test_shift_moves_whole_pixels_and_fills_with_zeros(down: int, right: int) -> None:
    expected = ndimage.shift(IMAGE, (down, right), order=0)
    np.testing.assert_allclose(moved(IMAGE, down=down, right=right), expected, atol=1e-3)


@pytest.mark.parametrize("degrees", [10.0, -25.0])
@pytest.mark.parametrize("shape", [(9, 9), (12, 7)], ids=["square", "oblong"])
def test_turn_is_scipy_s(shape: tuple[int, int], degrees: float) -> None:
    image = np.zeros(shape, np.float32)
    image[3:-3, 2:-2] = np.random.default_rng(1).uniform(0, 255, size=(shape[0] - 6, shape[1] - 4))
    expected = ndimage.rotate(image, -degrees, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(moved(image, degrees=degrees), expected, atol=1e-2)


def test_quarter_turn_is_exact() -> None:
    square = IMAGE[:5]
    np.testing.assert_allclose(moved(square, degrees=90.0), np.rot90(square, -1), atol=1e-2)


def test_moves_depend_on_seed_epoch_and_row_alone() -> None:
    settings = Augment(shift=2, rotate=10.0)
    first = draw_moves(settings, 100, seed=0, epoch=0)
    assert np.array_equal(first, draw_moves(settings, 100, seed=0, epoch=0))
    assert not np.array_equal(first, draw_moves(settings, 100, seed=0, epoch=1))
    assert not np.array_equal(first, draw_moves(settings, 100, seed=1, epoch=0))
    assert set(np.unique(first[:, :2])) == {-2, -1, 0, 1, 2}
    assert 5 < np.abs(first[:, 2]).max() <= 10
