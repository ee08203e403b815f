import numpy as np
import pytest

from components.tasks.image_generation.evaluate.distances import mean_nearest, mean_pairwise


def test_images_that_are_all_alike_lie_no_distance_apart() -> None:
    assert mean_pairwise(np.full((10, 4, 4), 7, np.uint8)) == 0


def test_distance_of_black_and_white_is_the_whole_range() -> None:
    images = np.zeros((6, 4, 4), np.uint8)
    images[3:] = 255
    assert mean_pairwise(images) == 255


def test_nearest_is_that_of_every_pair() -> None:
    random = np.random.default_rng(0)
    images, among = (random.integers(0, 256, size=(count, 5, 3), dtype=np.uint8) for count in (70, 40))
    pairs = np.square(images[:, None].astype(float) - among[None]).mean(axis=(2, 3))
    assert mean_nearest(images, among) == pytest.approx(np.sqrt(pairs.min(axis=1)).mean(), rel=1e-4)
    assert mean_nearest(among[:5], among) == 0
