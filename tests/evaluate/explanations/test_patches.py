"""Patches of images, and what is seen of an image without some of them."""

import numpy as np
import pytest

from components.evaluate.explanations.patches import covered, patch_of, patches_of, shown_image


@pytest.mark.parametrize(
    ("shape", "patch", "count"),
    [((28, 28), (4, 4), 49), ((3, 2), (1, 1), 6), ((9, 30), (2, 5), 30), ((1, 1), (1, 1), 1)],
)
def test_patches_cover_an_image_of_any_shape(shape: tuple[int, int], patch: tuple[int, int], count: int) -> None:
    assert patch_of(shape) == patch
    found = patches_of(shape)
    assert found.shape == shape
    assert np.unique(found).tolist() == list(range(count))


def test_patches_that_are_not_kept_are_covered() -> None:
    image = np.arange(4, dtype=np.float32).reshape(2, 2)
    found = covered(image, patches_of((2, 2)), np.array([True, False, False, True]), cover=9)
    assert found.tolist() == [[0, 9], [9, 3]]
    assert found.dtype == np.float32


def test_an_image_is_shown_from_0_to_1_with_its_effects_by_patch() -> None:
    image = np.array([[10, 20], [30, 20]], np.float32)
    found = shown_image(image, np.array([0.1, -0.2, 0.0, 0.3]), row=3, label="a", answer="b", score=0.5)
    assert found["values"] == [[0, 0.5], [1, 0.5]]
    assert found["effects"] == [[0.1, -0.2], [0, 0.3]]
    flat = shown_image(np.full((2, 2), 7, np.float32), np.zeros(4), row=3, label="a", answer="a", score=1.0)
    assert flat["values"] == [[0, 0], [0, 0]]
