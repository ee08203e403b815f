"""The float generator behind the sampler: the same latents and grey levels as the served one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.models.generating import generating
from serving.tasks.image_generation.predictor import Forward, Latents, Sampler

BATCH_SIZE = 250  # where torch is at its fastest; fp32 rows do not disturb each other


def float_sampler(
    model: nn.Module, *, shape: tuple[int, int], batch_size: int = BATCH_SIZE, threads: int = 1
) -> Sampler:
    """A sampler around a torch model in fp32. InputError where the model makes nothing of latents."""
    return Sampler(
        forward=float_forward(model),
        shape=shape,
        latent_size=generating(model).latent_size,
        batch_size=batch_size,
        threads=threads,
    )


def float_forward(model: nn.Module) -> Forward:
    """The forward of a torch model, from arrays to arrays."""

    @torch.inference_mode()
    def forward(latents: Latents) -> NDArray[np.float32]:
        return model(torch.from_numpy(latents)).numpy()

    return forward
