"""The float generator in the sampler that is served, so that latents and grey levels are those of the service."""

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
    """Return a sampler around a torch model in fp32; raise InputError where the model makes nothing from latents."""
    return Sampler(
        forward=float_forward(model),
        shape=shape,
        latent_size=generating(model).latent_size,
        batch_size=batch_size,
        threads=threads,
    )


def float_forward(model: nn.Module) -> Forward:
    """Return the forward pass of a torch model, as a function from NumPy arrays to NumPy arrays."""

    @torch.inference_mode()
    def forward(latents: Latents) -> NDArray[np.float32]:
        return model(torch.from_numpy(latents)).numpy()

    return forward
