import io

import numpy as np
import pytest
from PIL import Image

from serving.predictors.pictures import grey_levels, png_of, tiled


def test_grey_levels_go_from_black_to_white() -> None:
    rows = np.array([[-1, -0.999, 0, 1], [-7, 0.5, 1.5, 1]], np.float32)
    assert grey_levels(rows, shape=(2, 2)).tolist() == [[[0, 0], [128, 255]], [[0, 191], [255, 255]]]


def test_images_stand_side_by_side_with_gaps() -> None:
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None].repeat(2, axis=1).repeat(3, axis=2)
    picture = tiled(images)
    assert picture.shape == (2 * 2 + 2, 3 * 3 + 2 * 2)  # two lines of three
    assert picture[0].tolist() == [1, 1, 1, 0, 0, 2, 2, 2, 0, 0, 3, 3, 3]
    assert picture[5].tolist() == [4, 4, 4, 0, 0, 5, 5, 5, 0, 0, 0, 0, 0]
    assert not picture[2:4].any()
    assert tiled(images, columns=5).shape == (2, 5 * 3 + 4 * 2)


@pytest.mark.parametrize("zoom", [1, 3])
def test_png_holds_the_grey_levels(zoom: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(4, 6), dtype=np.uint8)
    with Image.open(io.BytesIO(png_of(image, zoom=zoom))) as picture:
        assert picture.mode == "L"
        assert picture.size == (6 * zoom, 4 * zoom)
        assert np.array_equal(np.asarray(picture)[::zoom, ::zoom], image)
    assert png_of(image) == png_of(image.copy())
