"""Shifts of images, each by whole pixels of its own, so that few images last longer in training.

A shift is indexing, not resampling: it is exact, and its gradient is the same in each run on every device.

Legend: B images of a batch, H and W their sides.
"""

import torch
from torch import Tensor
from torch.nn import functional


def shifted(images: Tensor, moves: Tensor, *, most: int, background: float) -> Tensor:
    """Return images (B, H, W), each moved down and right by its pixels in `moves` (B, 2), at most `most` either way.

    What comes in from outside has the value `background`.
    """
    if not most:
        return images
    _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most), value=background)
    down, right = (most - moves).unbind(dim=1)  # where each image begins in its padded one, (B,)
    lines = down[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = right[:, None] + torch.arange(width, device=images.device)  # (B, W)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[which, lines[:, :, None], columns[:, None, :]]
