"""The float model of texts in the predictor that is served, so that cleaning, tokens and softmax are the service's."""

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from serving.predictors.calibration import Calibration
from serving.tasks.text_classification.predictor import Forward, Ids, Predictor, PredictorSettings

BATCH_SIZE = 32  # torch is at its fastest on padded batches of like lengths, and fp32 rows do not disturb each other


def float_predictor(
    model: nn.Module, *, tokenizer: Tokenizer, settings: PredictorSettings, calibration: Calibration | None = None
) -> Predictor:
    """Return a predictor around a torch model in fp32, on all of torch's threads."""
    forward = float_forward(model)
    return Predictor(
        tokenizer=tokenizer, settings=settings, forward=forward, batch_size=BATCH_SIZE, threads=1,
        calibration=calibration,
    )  # fmt: skip


def float_forward(model: nn.Module) -> Forward:
    """Return the forward pass of a torch model, as a function from NumPy arrays to NumPy arrays."""

    @torch.inference_mode()
    def forward(input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        return model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).numpy()

    return forward
