"""Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) of a float model of texts, by captum.

What is attributed is the probability of a label, from the text in which every token but the special ones is the padding
token, to the text itself, through the token embeddings. The attributions of a text's tokens sum to the difference of
the two probabilities, but for the error of the sum that stands for the integral.

Legend: T tokens, P pieces of a text, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serving.predictors.explaining import Span

NUM_STEPS = 32
"""Points of the Gauss-Legendre quadrature: the sum of MiniLM is then within 1 % of the difference."""
STEPS_A_CALL = 16


@dataclass(frozen=True)
class Tokens:
    """A text as the model reads it."""

    ids: Sequence[int]
    """The numbers of the T tokens."""
    spans: Sequence[Span]
    """Where each token stands in the text, T of them; empty for a special token."""


@dataclass(frozen=True)
class Attributed:
    tokens: NDArray[np.float64]
    """The attribution of each token, (T,)."""
    difference: float
    """The probability of the label for the text, minus that for padding alone."""


def embedding_of(model: nn.Module) -> nn.Embedding | None:
    """Return the layer that turns tokens into vectors; None where a model has none."""
    hosted = getattr(model, "hosted", None)
    known = hosted.get_input_embeddings() if hosted is not None else None
    if isinstance(known, nn.Embedding):
        return known
    return next((layer for layer in model.modules() if isinstance(layer, nn.Embedding)), None)


def integrated_gradients(
    model: nn.Module, embedding: nn.Embedding, tokens: Tokens, *, pad_token_id: int, label_id: int
) -> Attributed:
    """Return what each token of a text adds to the probability of a label; the model is in evaluation mode."""
    from captum.attr import LayerIntegratedGradients

    ids = torch.tensor([list(tokens.ids)])  # (1, T)
    is_text = torch.tensor([[span.end > span.start for span in tokens.spans]])  # (1, T)
    padding = torch.where(is_text, pad_token_id, ids)  # (1, T)

    def probability(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return model(input_ids, attention_mask).softmax(dim=-1)[:, label_id]

    mask = torch.ones_like(ids)
    found = LayerIntegratedGradients(probability, embedding).attribute(
        ids, baselines=padding, additional_forward_args=(mask,), n_steps=NUM_STEPS, internal_batch_size=STEPS_A_CALL
    )
    assert isinstance(found, Tensor)
    with torch.inference_mode():
        ends = probability(torch.cat([padding, ids]), torch.cat([mask, mask])).double()
    by_token = found.detach().double().sum(dim=-1)[0]  # (T,)
    return Attributed(tokens=by_token.numpy(), difference=float(ends[1] - ends[0]))


def by_piece(attributions: NDArray[np.float64], spans: Sequence[Span], pieces: Sequence[Span]) -> NDArray[np.float64]:
    """Return the attributions (T,) summed over the tokens of each piece, (P,).

    The attribution of a token that reaches over several pieces is shared out by their characters in it; one that lies
    in no piece, such as a special token's, is left out.
    """
    shared = np.array(
        [[max(0, min(one.end, piece.end) - max(one.start, piece.start)) for piece in pieces] for one in spans], float
    ).reshape(len(spans), len(pieces))  # (T, P)
    covered = shared.sum(axis=1, keepdims=True)
    return attributions @ np.divide(shared, covered, out=np.zeros_like(shared), where=covered > 0)
