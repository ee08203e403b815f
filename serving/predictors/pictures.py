"""Rows of a generator as grey images, many images as one, and that as a PNG.

Legend: S samples, H and W the sides of an image, N = H * W.
"""

import io
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

WHITE = 255
GAP = 2
"""Pixels between the images of a picture."""

Images = NDArray[np.uint8]


def grey_levels(rows: NDArray[np.float32], *, shape: tuple[int, ...]) -> Images:
    """Rows (S, N) from -1 to 1 as images (S, H, W) from 0 to 255."""
    levels = (rows.astype(np.float32) + 1) * (WHITE / 2)
    return np.clip(np.rint(levels), 0, WHITE).astype(np.uint8).reshape(len(rows), *shape)


def tiled(images: Images, *, columns: int | None = None) -> Images:
    """Images (S, H, W) as one, line by line; nearly a square, unless `columns` says how many stand in a line."""
    count, height, width = images.shape
    columns = columns or ceil(sqrt(count))
    lines = ceil(count / columns)
    picture = np.zeros((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def png_of(image: Images, *, zoom: int = 1) -> bytes:
    """A grey image (H, W) as a PNG, each pixel `zoom` pixels wide."""
    from PIL import Image  # here, since only pictures need it

    held = io.BytesIO()
    Image.fromarray(image.repeat(zoom, axis=0).repeat(zoom, axis=1)).save(held, format="PNG")
    return held.getvalue()
