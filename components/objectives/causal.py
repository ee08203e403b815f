"""Causal language modelling: each token is guessed from those before it.

The training documents stand one behind another, with an end-of-text token before each, and are read through windows of
one context. The windows of a round lie side by side from a random place on and come in random order, so that a round
sees each token at most once. An epoch has as many steps as the recipe says, whatever the rounds.

Legend: B windows of a batch, T tokens of the context, N tokens of all documents, V tokens of the vocabulary.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from components.models.facts import Facts
from components.params import PretrainFromData
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, read_json
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.batches import cuts, rows_of_a_step
from components.training.objective import Data, Objective, Player, shares
from components.training.precision import Precision
from components.training.splits import read_split

MAX_VALIDATION_WINDOWS = 256  # evenly over the split: enough for the third digit, and seconds for a large split
LARGEST_EXPONENT = 700.0  # of a perplexity that is still a number
VALIDATION_BATCH = 16
# Of the texts that are shown as training goes; evaluate's own are the recipe's to choose.
NUM_SAMPLES, NUM_SAMPLE_TOKENS, TEMPERATURE = 3, 80, 0.8


@dataclass(frozen=True)
class Stream:
    """The documents of a split, one behind another."""

    tokens: NDArray[np.int64]
    """The token ids, (N,): an end-of-text token, then the documents, each of which ends with one."""
    row: NDArray[np.int64]
    """The number in data.parquet of the document that each token belongs to, (N,)."""
    num_bytes: int
    """The size of the documents' texts, in bytes."""


@dataclass(frozen=True)
class Windows:
    """A batch of windows of a stream."""

    row: np.ndarray
    """The number in data.parquet of the document in which each window begins, (B,)."""
    input_ids: Tensor
    """The token ids, (B, T)."""
    target: Tensor
    """The token after each of `input_ids`, (B, T)."""

    @property
    def num_units(self) -> int:
        return self.target.numel()

    def parts(self, size: int) -> list["Windows"]:
        """Return the windows in parts of at most `size`."""
        return [Windows(self.row[cut], self.input_ids[cut], self.target[cut]) for cut in cuts(len(self.row), size)]


def prepare(
    params: PretrainFromData, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker, device: torch.device,
    precision: Precision,
) -> Objective:  # fmt: skip
    """Set up the training windows, the validation figures and the samples of a language model.

    Raise InputError where the model returns no logits of the next token, where a split holds no documents, or where the
    training split does not fill a context.
    """
    end_of_text_id: int = read_json(data.predictor / PREDICTOR)["end_of_text_id"]
    tokenizer = Tokenizer.from_file(str(data.predictor / TOKENIZER))
    train = read_stream(data.train, end_of_text_id=end_of_text_id)
    validation = read_stream(data.validation, end_of_text_id=end_of_text_id)
    check_model(model, params, facts)
    num_windows = windows_of_a_round(len(train.tokens), context=facts.context)
    batch_size = rows_of_a_step(params.batch_size, num_rows=num_windows)
    num_steps = params.steps_per_epoch or max(1, num_windows // batch_size)
    together = min(VALIDATION_BATCH, params.micro_batch_size or VALIDATION_BATCH)
    num_epochs = 0

    def batches(epoch: int, start: int) -> Iterator[Windows]:
        nonlocal num_epochs
        num_epochs = epoch + 1  # at once: a training that was killed in a look takes no batch before it looks again
        return windows_from(epoch, start)

    def windows_from(epoch: int, start: int) -> Iterator[Windows]:
        starts = Starts(len(train.tokens), context=facts.context, seed=params.seed)
        for step in range(epoch * num_steps + start, (epoch + 1) * num_steps):
            places = starts.take(step * batch_size, (step + 1) * batch_size)
            yield windows_at(train, places, length=facts.context)

    def loss_of(model: nn.Module, batch: Windows) -> Tensor:
        logits = model(batch.input_ids.to(device))  # (B, T, V)
        return functional.cross_entropy(logits.float().flatten(0, 1), batch.target.to(device).flatten())

    def divided(batch: Windows, size: int) -> Sequence[tuple[Windows, float]]:
        return shares(batch.parts(size), lambda part: part.num_units)

    def validate(model: nn.Module) -> dict[str, float]:
        model.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            figures = figures_of_stream(model, validation, loss_of=loss_of, context=facts.context, together=together)
            texts = samples(model, tokenizer, end_of_text_id=end_of_text_id, context=facts.context, device=device)
        log_samples(texts, tracker, num_epochs=num_epochs)
        return figures

    return Objective(
        players=[Player("", list(model.named_parameters()), loss_of, divided)],
        batches=batches,
        num_steps_per_epoch=num_steps,
        validate=validate,
        unit="tokens",
    )


def check_model(model: nn.Module, params: PretrainFromData, facts: Facts) -> None:
    """Raise InputError where the model does not return logits of the next token."""
    found: Any = None
    with torch.inference_mode(), suppress(TypeError):  # a network for another objective may want more than tokens
        found = model(torch.zeros((1, 2), dtype=torch.int64, device=next(model.parameters()).device))
    if not isinstance(found, Tensor) or found.shape != (1, 2, facts.vocab_size):
        raise InputError(
            f"pretrain.objective is 'causal', which trains a language model, but the family '{params.model.family}' "
            "gives no logits of the next token; set pretrain.model.family to 'gpt' or 'lstm', or the objective to the "
            "family's own"
        )


def read_stream(path: Path, *, end_of_text_id: int) -> Stream:
    """Read the documents of a split; raise InputError where there is none."""
    split = read_split(path, ["input_ids", "num_bytes"])
    if not len(split):
        raise InputError(f"{path.name} holds no documents; add some, or change preprocess.split")
    ids = split.lists["input_ids"]
    row = np.repeat(split.numbers["row"], ids.lengths)
    return Stream(
        tokens=np.concatenate([[end_of_text_id], ids.flat]).astype(np.int64),
        row=np.concatenate([row[:1], row]),
        num_bytes=int(split.numbers["num_bytes"].sum()),
    )


def windows_of_a_round(num_tokens: int, *, context: int) -> int:
    """Return the number of windows that lie side by side, wherever the first begins.

    Raise InputError where not even one fits.
    """
    if num_tokens <= context:
        raise InputError(
            f"the training split holds {num_tokens} tokens, fewer than a context ({context}) and the token after it; "
            "add documents, or lower preprocess.context"
        )
    return max(1, (num_tokens - 1) // context - 1)


class Starts:
    """The places where windows begin, in endless rounds, each of which depends on the seed and its number alone."""

    def __init__(self, num_tokens: int, *, context: int, seed: int) -> None:
        self.num_windows = windows_of_a_round(num_tokens, context=context)
        self.slack = num_tokens - 1 - self.num_windows * context
        self.context, self.seed = context, seed
        self.round = cache(self._round)

    def _round(self, number: int) -> NDArray[np.int64]:
        random = np.random.default_rng([self.seed, number])
        first = random.integers(self.slack + 1)
        return first + self.context * random.permutation(self.num_windows)

    def take(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the places of the windows from the `start`-th to before the `stop`-th."""
        numbers = np.arange(start, stop)
        return np.array([self.round(n // self.num_windows)[n % self.num_windows] for n in numbers.tolist()])


def windows_at(stream: Stream, places: NDArray[np.int64], *, length: int) -> Windows:
    """Return the windows of `length` tokens that begin at `places`."""
    tokens = stream.tokens[places[:, None] + np.arange(length + 1)]  # (B, T + 1)
    return Windows(
        row=stream.row[places],
        input_ids=torch.from_numpy(tokens[:, :-1].copy()),
        target=torch.from_numpy(tokens[:, 1:].copy()),
    )


def figures_of_stream(
    model: nn.Module, stream: Stream, *, loss_of: Any, context: int, together: int = VALIDATION_BATCH
) -> dict[str, float]:
    """Return the loss, the bits per byte and the perplexity on windows that lie side by side.

    The loss is in nats per token. At most MAX_VALIDATION_WINDOWS windows are measured, evenly over the split,
    `together` at once. Bits per byte assume that the windows have as many bytes per token as the whole split.
    """
    num_guessed = len(stream.tokens) - 1
    length = min(context, num_guessed)
    places = length * np.arange(num_guessed // length)
    if len(places) > MAX_VALIDATION_WINDOWS:
        places = places[np.linspace(0, len(places) - 1, MAX_VALIDATION_WINDOWS).astype(np.int64)]
    total = 0.0
    for start in range(0, len(places), together):
        batch = windows_at(stream, places[start : start + together], length=length)
        total += loss_of(model, batch).item() * len(batch.row)
    loss = total / len(places)
    bits_per_byte = loss / math.log(2) * num_guessed / stream.num_bytes
    return {
        "validation_loss": loss,
        "validation_bits_per_byte": bits_per_byte,
        "validation_perplexity": math.exp(min(loss, LARGEST_EXPONENT)),
    }


def samples(
    model: nn.Module, tokenizer: Tokenizer, *, end_of_text_id: int, context: int, device: torch.device
) -> list[str]:
    """Return a few texts that the model writes from nothing, drawn alike each time.

    The draws have a random generator of their own, so that those of the training stay as they are.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((NUM_SAMPLES, 1), end_of_text_id)  # (B, T)
    for _ in range(NUM_SAMPLE_TOKENS):
        logits = model(ids[:, -context:].to(device))[:, -1].float().cpu()  # (B, V)
        drawn = torch.multinomial((logits / TEMPERATURE).softmax(dim=-1), 1, generator=generator)
        ids = torch.cat([ids, drawn], dim=1)
    return [tokenizer.decode(line) for line in ids.tolist()]


def log_samples(texts: list[str], tracker: Tracker, *, num_epochs: int) -> None:
    """Log the texts beside the curves, as one file named by the epoch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"after_epoch_{num_epochs:03}.txt"
        path.write_text("\n\n---\n\n".join(texts) + "\n", encoding="utf-8")
        tracker.log_file(path, folder="samples")
