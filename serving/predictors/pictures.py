"""Grey images of a generator's rows, pictures tiled of many images, and PNG encoding.

Legend: S samples, H and W the sides of an image, N = H * W.
"""

import io
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

WHITE = 255
GAP = 2
"""The pixels between the images of a picture."""

Images = NDArray[np.uint8]


def grey_levels(rows: NDArray[np.float32], *, shape: tuple[int, ...]) -> Images:
    """Return rows (S, N), with values from -1 to 1, as images (S, H, W) of grey levels from 0 to 255."""
    levels = (rows.astype(np.float32) + 1) * (WHITE / 2)
    return np.clip(np.rint(levels), 0, WHITE).astype(np.uint8).reshape(len(rows), *shape)


def tiled(images: Images, *, columns: int | None = None) -> Images:
    """Return images (S, H, W) as one picture (its height, its width), line by line.

    The picture is nearly a square, unless `columns` says how many images stand in a line.
    """
    count, height, width = images.shape
    columns = columns or ceil(sqrt(count))
    lines = ceil(count / columns)
    picture = np.zeros((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def png_of(image: Images, *, zoom: int = 1) -> bytes:
    """Return a grey image (H, W) as the bytes of a PNG, with each pixel drawn `zoom` pixels wide and high."""
    from PIL import Image  # here, since only pictures need it

    held = io.BytesIO()
    Image.fromarray(image.repeat(zoom, axis=0).repeat(zoom, axis=1)).save(held, format="PNG")
    return held.getvalue()
