"""Augmentation of images: a shift by whole pixels and a turn about the centre, as one resampling.

Legend: N rows of a split, B images of a batch, H and W their height and width.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from components.params import Augment


def draw_moves(settings: Augment, num_rows: int, *, seed: int, epoch: int) -> NDArray[np.float64]:
    """Draw how each row is moved in an epoch, whatever its batch: pixels down, pixels right, degrees; (N, 3)."""
    random = np.random.default_rng([seed, epoch, 1])  # another stream than the batches' order
    pixels = random.integers(-settings.shift, settings.shift, size=(num_rows, 2), endpoint=True).astype(np.float64)
    degrees = random.uniform(-settings.rotate, settings.rotate, size=(num_rows, 1))
    return np.concatenate([pixels, degrees], axis=1)


def move(images: Tensor, moves: Tensor) -> Tensor:
    """Return images (B, H, W) after their moves (B, 3); what comes in from outside is 0."""
    _, height, width = images.shape
    down, right, degrees = moves.to(images.dtype).unbind(dim=1)
    cos, sin = torch.cos(degrees * math.pi / 180), torch.sin(degrees * math.pi / 180)
    # affine_grid asks where each pixel comes from, in halves of the image's sides. Angles are kept on pixels, which
    # an image that is not square has more of along one side.
    x = torch.stack([cos, sin * height / width, -2 / width * (cos * right + sin * down)], dim=1)  # (B, 3)
    y = torch.stack([-sin * width / height, cos, -2 / height * (cos * down - sin * right)], dim=1)  # (B, 3)
    grid = functional.affine_grid(torch.stack([x, y], dim=1), [len(images), 1, height, width], align_corners=False)
    return functional.grid_sample(images.unsqueeze(1), grid, padding_mode="zeros", align_corners=False).squeeze(1)
