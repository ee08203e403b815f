"""The log2-probability that a model gives to each token of whole documents, from the first token on.

Each document stands behind an end-of-text token. A model with a state (it has a method `step`) carries it from the
first token to the last, as it does when it is served. Any other reads windows of one context that overlap by half, so
that each token but the first ones has from half a context to a whole one before it.

Legend: B windows or documents of a batch, T tokens, V tokens of the vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from components.plumbing.errors import ArtifactError
from components.plumbing.progress import progress
from components.tasks.text_generation.evaluate.documents import Documents, Vocabulary

BATCH_SIZE = 16
IGNORED = -100  # cross_entropy's own number for a target that does not count


@dataclass(frozen=True)
class Window:
    """A piece of a document that is read at once."""

    document: int
    start: int
    """The place of the first token that is read, which stands before the first target."""
    length: int
    """The number of tokens that are read, and of targets."""
    first: int
    """The number of the window's first target that counts; those before it counted in the window before."""


def read(model: nn.Module, documents: Documents, *, vocabulary: Vocabulary) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each token of each document; raise ArtifactError where one is not finite."""
    streams = [
        torch.from_numpy(np.append(vocabulary.end_of_text_id, ids).astype(np.int64)) for ids in documents.input_ids
    ]
    with torch.inference_mode():
        reader = read_with_state if hasattr(model, "step") else read_windows
        found = reader(model.eval(), streams, vocabulary.context)
    num_wrong = sum(int((~np.isfinite(one)).any()) for one in found)
    if num_wrong:
        raise ArtifactError(
            f"the model's probabilities are not finite in {num_wrong} of {len(found)} test documents; "
            "train it again with a lower pretrain.optimizer.learning_rate"
        )
    return found


def windows_of(num_targets: int, *, document: int, context: int) -> list[Window]:
    """Return the windows of one document, in which each target counts just once."""
    stride = max(1, context // 2)
    found = [Window(document, 0, min(context, num_targets), 0)]
    while (done := found[-1].start + found[-1].length) < num_targets:
        start = found[-1].start + stride
        found.append(Window(document, start, min(context, num_targets - start), done - start))
    return found


def read_windows(model: nn.Module, streams: Sequence[Tensor], context: int) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each token of each document, read in windows of one context.

    Windows of like lengths are read together. Padding comes after the tokens of a shorter window, which do not see it.
    """
    windows = [w for number, s in enumerate(streams) for w in windows_of(len(s) - 1, document=number, context=context)]
    windows.sort(key=lambda window: -window.length)
    found = [np.full(len(stream) - 1, np.nan) for stream in streams]
    with progress("read", total=len(windows)) as bar:
        for start in range(0, len(windows), BATCH_SIZE):
            batch = windows[start : start + BATCH_SIZE]
            pieces = [streams[w.document][w.start : w.start + w.length + 1] for w in batch]
            inputs, targets = padded(pieces)
            log2 = log2_of(model(inputs), targets)
            for window, line in zip(batch, log2, strict=True):
                places = slice(window.start + window.first, window.start + window.length)
                found[window.document][places] = line[window.first : window.length]
            bar.update(start + len(batch))
    return found


def read_with_state(model: nn.Module, streams: Sequence[Tensor], context: int) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each token of each document, read with a state carried from piece to piece.

    All documents are read side by side, the longest first, so that those that end leave the batch from its end.
    """
    order = sorted(range(len(streams)), key=lambda number: -len(streams[number]))
    found = [np.full(len(stream) - 1, np.nan) for stream in streams]
    longest = len(streams[order[0]]) - 1
    step: Any = model.step
    state: tuple[Tensor, ...] | None = None
    with progress("read", total=longest) as bar:
        for start in range(0, longest, context):
            alive = [number for number in order if len(streams[number]) - 1 > start]
            inputs, targets = padded([streams[number][start : start + context + 1] for number in alive])
            if state is not None:
                state = tuple(part[:, : len(alive)].contiguous() for part in state)  # (L, B, C)
            logits, state = step(inputs, state)
            for number, line in zip(alive, log2_of(logits, targets), strict=True):
                piece = found[number][start : start + context]
                piece[:] = line[: len(piece)]
            bar.update(min(start + context, longest))
    return found


def padded(pieces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the tokens that are read and the tokens after them, (B, T) each; the targets of padding do not count."""
    inputs = nn.utils.rnn.pad_sequence([piece[:-1] for piece in pieces], batch_first=True)
    targets = nn.utils.rnn.pad_sequence([piece[1:] for piece in pieces], batch_first=True, padding_value=IGNORED)
    return inputs, targets


def log2_of(logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return the log2-probability of each target, (B, T), from logits (B, T, V)."""
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -loss.view(targets.shape).double().numpy() / math.log(2)
