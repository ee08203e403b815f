"""The float model behind the predictor: the same cleaning, tokens and softmax as the served one."""

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from serving.tasks.text_classification.predictor import Forward, Ids, Predictor, PredictorSettings

BATCH_SIZE = 32  # torch is at its fastest on padded batches of like lengths, and fp32 rows do not disturb each other


def float_predictor(model: nn.Module, *, tokenizer: Tokenizer, settings: PredictorSettings) -> Predictor:
    """A predictor around a torch model in fp32, on all of torch's threads."""
    forward = float_forward(model)
    return Predictor(tokenizer=tokenizer, settings=settings, forward=forward, batch_size=BATCH_SIZE, threads=1)


def float_forward(model: nn.Module) -> Forward:
    """The forward of a torch model, from arrays to arrays."""

    @torch.inference_mode()
    def forward(input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        return model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).numpy()

    return forward
