"""Occlusion (Zeiler & Fergus 2014, arXiv:1311.2901): an image is asked about again without each of its patches.

Legend: H height, W width, P patches.
"""

from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.evaluate.explanations.tables import Found, ShownImage
from components.evaluate.figures import rounded

PATCHES_A_SIDE = 7
"""As many patches as a map of a longer image has on each side, at most."""
MAX_IMAGES = 16
A_ROW = 8
FAINTEST = 0.05
"""The least effect on a score that is drawn in its full colour."""

Image = NDArray[np.float32]


def patch_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the height and the width of a patch of an image."""
    height, width = shape
    return ceil(height / PATCHES_A_SIDE), ceil(width / PATCHES_A_SIDE)


def patches_of(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the number of the patch that each pixel lies in, (H, W), from 0 to P - 1, row by row."""
    (height, width), (high, wide) = shape, patch_of(shape)
    return np.arange(height)[:, None] // high * ceil(width / wide) + np.arange(width)[None, :] // wide


def covered(image: Image, patches: NDArray[np.int64], kept: NDArray[np.bool_], *, cover: float) -> Image:
    """Return an image, (H, W), with the number `cover` in the patches that are not kept, (P,)."""
    return np.where(kept[patches], image, np.float32(cover))


def shown_image(
    image: Image, effects: NDArray[np.float64], *, row: int, label: str, answer: str, score: float
) -> ShownImage:
    """Return an image with the effect of each patch on the answer's score."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / (high - low) if high > low else np.zeros_like(image)
    across = ceil(image.shape[1] / patch_of((image.shape[0], image.shape[1]))[1])
    return ShownImage(
        row=row,
        label=label,
        answer=answer,
        score=rounded(score),
        values=[[round(float(value), 3) for value in line] for line in scaled],
        effects=[[rounded(value) for value in line] for line in effects.reshape(-1, across)],
    )


def draw_occlusion(found: Found) -> Figure:
    """Draw each image with its patches in green where they speak for the answer, and in red where against it."""
    images = found["images"]
    lines = ceil(len(images) / A_ROW)
    figure = Figure(figsize=(1.25 * A_ROW, 1.55 * lines + 0.35), layout="constrained")
    high, wide = found["patch"]
    for number, one in enumerate(images):
        axes = figure.add_subplot(lines, A_ROW, number + 1)
        axes.imshow(one["values"], cmap="gray_r", vmin=0, vmax=1.4)
        effects = np.repeat(np.repeat(np.array(one["effects"], np.float64), high, axis=0), wide, axis=1)
        height, width = len(one["values"]), len(one["values"][0])
        axes.imshow(tinted(effects[:height, :width]))
        axes.set_title(title_of(one), fontsize=8, fontweight="normal", loc="center", pad=3)
        axes.set_axis_off()
    return figure


def tinted(effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return effects as colours with their opacity, (H, W, 4)."""
    share = effects / max(FAINTEST, float(np.abs(effects).max()))
    colours = np.where((effects > 0)[..., None], (0.16, 0.55, 0.27), (0.75, 0.22, 0.17))
    return np.concatenate([colours, 0.75 * np.abs(share)[..., None]], axis=-1)


def title_of(one: ShownImage) -> str:
    wrong = "" if one["label"] == one["answer"] else f" ({one['label']})"
    return f"{one['answer'][:14]}{wrong} {one['score']:.2f}"
