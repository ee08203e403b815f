"""Distances between images, in grey levels: the root mean square over the pixels.

Legend: N and M images, H and W their sides.
"""

import numpy as np
from numpy.typing import NDArray

from serving.predictors.pictures import Images

TOGETHER = 500


def mean_pairwise(images: Images) -> float:
    """Return the mean distance between different images of a set (N, H, W).

    Each image is compared with the one that lies half the set away.
    """
    rows = as_rows(images)
    other = np.roll(rows, len(rows) // 2, axis=0)
    return float(np.sqrt(np.square(rows - other).mean(axis=1)).mean())


def mean_nearest(images: Images, among: Images) -> float:
    """Return the mean distance of images (N, H, W) from the nearest one of `among` (M, H, W)."""
    rows, others = as_rows(images), as_rows(among)
    squares = np.square(others).sum(axis=1)  # (M,)
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), TOGETHER):
        part = rows[start : start + TOGETHER]
        nearest = (np.square(part).sum(axis=1)[:, None] - 2 * part @ others.T + squares).min(axis=1)
        found.append(np.sqrt(np.maximum(nearest, 0) / rows.shape[1]))
    return float(np.concatenate(found).mean())


def as_rows(images: Images) -> NDArray[np.float32]:
    """Return images (N, H, W) as rows of fp32 numbers, (N, H * W)."""
    return images.reshape(len(images), -1).astype(np.float32)
