"""The float model of scored arrays behind the predictor: the same scaling and softmax as the served one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from serving.tasks.array_scoring.predictor import PredictorSettings, Scorer, Values

BATCH_SIZE = 256  # torch is at its fastest on batches, and fp32 rows do not disturb each other


def float_scorer(
    model: nn.Module, *, settings: PredictorSettings, batch_size: int = BATCH_SIZE, threads: int = 1
) -> Scorer:
    """A scorer around a torch model in fp32."""

    @torch.inference_mode()
    def forward(values: Values) -> NDArray[np.float32]:
        return model(torch.from_numpy(values)).numpy()

    return Scorer(settings=settings, forward=forward, batch_size=batch_size, threads=threads)
