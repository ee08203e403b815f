"""Images that are each moved by whole pixels of their own, so that few of them last longer.

Indexing, not resampling: exact, and its gradient is the same at each run on every device.

Legend: B images of a batch, H and W their sides.
"""

import torch
from torch import Tensor
from torch.nn import functional


def shifted(images: Tensor, moves: Tensor, *, most: int, background: float) -> Tensor:
    """Images (B, H, W), each moved by its pixels down and right (B, 2), at most `most` either way."""
    if not most:
        return images
    _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most), value=background)
    down, right = (most - moves).unbind(dim=1)  # where each image begins in its padded one, (B,)
    lines = down[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = right[:, None] + torch.arange(width, device=images.device)  # (B, W)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[which, lines[:, :, None], columns[:, None, :]]
