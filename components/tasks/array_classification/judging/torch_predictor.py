"""The float model of arrays in the predictor that is served, so that scaling and softmax are those of the service."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from serving.predictors.calibration import Calibration
from serving.tasks.array_classification.predictor import Forward, Predictor, PredictorSettings, Values

BATCH_SIZE = 256  # torch is at its fastest on batches, and fp32 rows do not disturb each other


def float_array_predictor(
    model: nn.Module, *, settings: PredictorSettings, calibration: Calibration | None = None
) -> Predictor:
    """Return a predictor around a torch model in fp32, on all of torch's threads."""
    forward = float_array_forward(model, settings)
    return Predictor(settings=settings, forward=forward, batch_size=BATCH_SIZE, threads=1, calibration=calibration)


def float_array_forward(model: nn.Module, settings: PredictorSettings) -> Forward:
    """Return the forward pass of a torch model with the scaling of its numbers, from NumPy arrays to NumPy arrays."""

    @torch.inference_mode()
    def forward(values: Values) -> NDArray[np.float32]:
        return model(torch.from_numpy(settings.scaled(values))).numpy()

    return forward
