"""Masked language modelling: some tokens of a text are hidden, and guessed from the others.

As Devlin et al. 2018 (BERT, arXiv:1810.04805): of the chosen tokens 80 % become the mask token, 10 % another token and
10 % stay, so that a token that is read may always be wrong. As Liu et al. 2019 (RoBERTa): they are chosen anew each
time a text is read. As Joshi et al. 2019 (SpanBERT): they are chosen in spans of geometric length, since one letter of
a word is easily guessed from the others. The loss is that of the chosen tokens alone, and only for them are the logits
over the vocabulary computed.

The texts are those of the training split and those without a label; the figures are those of the validation split,
whose hidden tokens are the same after each epoch.

Legend: B rows of a batch, T tokens of its longest row, M hidden tokens of a batch, C width of the encoder, V tokens of
the vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from components.models.encoder.network import EncoderForMasking
from components.models.facts import Facts
from components.params import Masked, PretrainFromData
from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.batches import (
    Batch,
    Rows,
    cuts,
    num_batches,
    ordered_batches,
    padded_length,
    rows_of_a_step,
    training_batches,
)
from components.training.objective import Data, Objective, Player, shares
from components.training.precision import Precision
from components.training.splits import read_rows

MASK_TOKENS = ("[MASK]", "<mask>")
SHARE_MASKED, SHARE_REPLACED = 0.8, 0.1
# The hidden tokens of a batch are filled up to a multiple of this many with ones that do not count, as the rows'
# lengths are (see batches.LENGTH_STEP).
HIDDEN_STEP = 64
NOT_COUNTED = -100
MEASURED_TOGETHER = 128
"""The largest number of rows of the validation split in one batch."""
# Apart from the numbers of epochs, so that no training batch draws what the validation split does.
VALIDATION_DRAW = 2**32 - 1


@dataclass(frozen=True)
class Tokens:
    """The facts of the tokenizer that masking needs."""

    mask_id: int
    is_special: NDArray[np.bool_]
    """True for each token that stands for no text, (V,); such tokens are neither hidden nor put in another's place."""
    ordinary: NDArray[np.int64]
    """The ids of the tokens that stand for text."""


@dataclass(frozen=True)
class MaskedBatch:
    """Rows in which some tokens are hidden."""

    row: np.ndarray
    """The number of each row in data.parquet, (B,)."""
    input_ids: Tensor
    """The token ids that the model reads, (B, T)."""
    attention_mask: Tensor
    """The attention mask, (B, T), 1 where a token is real."""
    position: Tensor
    """The places of the tokens to be guessed, in the rows laid end to end, (M,)."""
    target: Tensor
    """The ids of the tokens to be guessed, (M,); NOT_COUNTED for the last ones, which only fill up."""

    @property
    def num_units(self) -> int:
        """The number of real tokens."""
        return int(self.attention_mask.sum())

    @property
    def num_hidden(self) -> int:
        """The number of tokens to be guessed."""
        return int((self.target != NOT_COUNTED).sum())

    def parts(self, size: int) -> list["MaskedBatch"]:
        """Return the rows in parts of at most `size`, each padded only as far as its own rows need."""
        counted = self.target != NOT_COUNTED
        target = self.target[counted]
        line, place = (
            self.position[counted] // self.input_ids.shape[1],
            self.position[counted] % self.input_ids.shape[1],
        )
        found: list[MaskedBatch] = []
        for cut in cuts(len(self.row), size):
            length = padded_length(self.attention_mask[cut])
            mine = (line >= cut.start) & (line < cut.stop)
            position, aim = filled_up((line[mine] - cut.start) * length + place[mine], target[mine])
            found.append(MaskedBatch(
                row=self.row[cut],
                input_ids=self.input_ids[cut, :length],
                attention_mask=self.attention_mask[cut, :length],
                position=position,
                target=aim,
            ))  # fmt: skip
        return found


def prepare(
    params: PretrainFromData, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker, device: torch.device,
    precision: Precision,
) -> Objective:  # fmt: skip
    """Set up the training of an encoder with a head that guesses hidden tokens.

    Raise InputError where the family is not `encoder`, where the tokenizer has no mask token, or where a split has no
    token to guess.
    """
    assert isinstance(params.objective, Masked)
    if params.model.family != "encoder":
        raise InputError(
            f"pretrain.objective is 'masked', which trains an encoder, but pretrain.model.family is "
            f"'{params.model.family}'; set the family to 'encoder', or the objective to the family's own"
        )
    tokens = read_tokens(data.predictor / TOKENIZER)
    train = with_tokens(texts_of(data.train, data.unlabelled), tokens, name="training")
    validation = with_tokens(texts_of(data.validation), tokens, name="validation")
    texts = HiddenTexts(params, params.objective, tokens, train, validation, facts.pad_token_id)
    assert isinstance(model, EncoderForMasking)

    def loss_of(model: nn.Module, batch: MaskedBatch) -> Tensor:
        return functional.cross_entropy(
            logits_of(model, batch).float(), batch.target.to(device), ignore_index=NOT_COUNTED
        )

    return Objective(
        players=[Player("", list(model.named_parameters()), loss_of, divided)],
        batches=texts.batches,
        num_steps_per_epoch=num_batches(len(train), batch_size=texts.batch_size, steps=params.steps_per_epoch),
        validate=lambda model: figures_of_guesses(model, texts.measured(), precision=precision),
        unit="tokens",
        model=model,
    )


@dataclass(frozen=True)
class HiddenTexts:
    """The texts of the training and the validation split, in batches in which tokens are hidden."""

    params: PretrainFromData
    settings: Masked
    tokens: Tokens
    train: Rows
    validation: Rows
    pad_token_id: int

    @property
    def batch_size(self) -> int:
        return rows_of_a_step(self.params.batch_size, num_rows=len(self.train))

    def batches(self, epoch: int, start: int) -> Iterator[MaskedBatch]:
        """Yield an epoch's batches from the `start`-th on, the same at each call."""
        plain = training_batches(
            self.train, batch_size=self.batch_size, pad_token_id=self.pad_token_id, seed=self.params.seed, epoch=epoch,
            start=start, steps=self.params.steps_per_epoch,
        )  # fmt: skip
        for step, batch in enumerate(plain, start=start):
            yield self.hidden(batch, epoch, step)

    def measured(self) -> Iterator[MaskedBatch]:
        """Yield the batches of the validation split, in which the same tokens are hidden each time."""
        together = min(4 * self.batch_size, MEASURED_TOGETHER)
        plain = ordered_batches(self.validation, batch_size=together, pad_token_id=self.pad_token_id)
        for step, batch in enumerate(plain):
            hidden = self.hidden(batch, VALIDATION_DRAW, step)
            # Cut only now: what is hidden depends on the whole batch.
            yield from hidden.parts(4 * self.params.micro_batch_size) if self.params.micro_batch_size else [hidden]

    def hidden(self, batch: Batch, draw: int, step: int) -> MaskedBatch:
        """Hide tokens of a batch, which are drawn by the number of an epoch, or of the validation split, and of a
        step."""
        random = np.random.default_rng([self.params.seed, draw, step])
        return masked(batch, self.tokens, self.settings, random=random)


def divided(batch: MaskedBatch, size: int) -> Sequence[tuple[MaskedBatch, float]]:
    """Return a batch in parts, each with the share of its hidden tokens."""
    return shares(batch.parts(size), lambda part: part.num_hidden)


def read_tokens(path: Path) -> Tokens:
    """Read the tokenizer's mask token and its special tokens; raise InputError where it has no mask token."""
    tokenizer = Tokenizer.from_file(str(path))
    mask_id = next((found for token in MASK_TOKENS if (found := tokenizer.token_to_id(token)) is not None), None)
    if mask_id is None:
        raise InputError(
            f"the tokenizer has none of the tokens {', '.join(MASK_TOKENS)}, which masked language modelling puts in "
            "the place of others; train one with algorithm 'wordpiece', or choose another pretrain.objective"
        )
    is_special = np.zeros(tokenizer.get_vocab_size(), bool)
    for number, token in tokenizer.get_added_tokens_decoder().items():
        is_special[number] = token.special
    is_special[mask_id] = True
    return Tokens(mask_id, is_special, np.flatnonzero(~is_special))


def texts_of(*splits: Path | None) -> Rows:
    """Read the texts of all the splits, without their labels."""
    parts = [read_rows(path) for path in splits if path is not None]
    row = np.concatenate([part.row for part in parts])
    return Rows(row, [ids for part in parts for ids in part.input_ids], label_id=np.zeros(len(row), np.int64))


def with_tokens(rows: Rows, tokens: Tokens, *, name: str) -> Rows:
    """Return the rows that have a token to guess; raise InputError where there is none."""
    is_kept = np.array([not tokens.is_special[ids].all() for ids in rows.input_ids], bool)
    if not is_kept.any():
        raise InputError(f"none of the {len(rows)} texts of the {name} split has a token that the tokenizer knows")
    kept = np.flatnonzero(is_kept)
    return Rows(rows.row[kept], [rows.input_ids[i] for i in kept.tolist()], rows.label_id[kept])


def masked(batch: Batch, tokens: Tokens, settings: Masked, *, random: np.random.Generator) -> MaskedBatch:
    """Hide tokens of each row; which ones, and how, depends on `random` alone."""
    original = batch.input_ids.numpy()  # (B, T)
    can_be_hidden = (batch.attention_mask.numpy() == 1) & ~tokens.is_special[original]  # (B, T)
    is_hidden = np.zeros_like(can_be_hidden)
    for line, places in enumerate(can_be_hidden):
        chosen = spans(int(places.sum()), share=settings.share, mean_span=settings.mean_span, random=random)
        is_hidden[line, np.flatnonzero(places)[chosen]] = True
    position = np.flatnonzero(is_hidden)  # (M,)
    target = original.ravel()[position]
    shown = original.ravel().copy()
    shown[position] = disguised(target, tokens, random=random)
    places, aims = filled_up(torch.from_numpy(position), torch.from_numpy(target))
    return MaskedBatch(
        row=batch.row,
        input_ids=torch.from_numpy(shown.reshape(original.shape)),
        attention_mask=batch.attention_mask,
        position=places,
        target=aims,
    )


def filled_up(position: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return places and targets (M,) with ones that do not count at their end, up to a multiple of HIDDEN_STEP."""
    missing = (0, -len(position) % HIDDEN_STEP)
    return functional.pad(position, missing), functional.pad(target, missing, value=NOT_COUNTED)


def spans(num_tokens: int, *, share: float, mean_span: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Choose which of a row's tokens are hidden, (num_tokens,): `share` of them, but at least one.

    They lie in spans of geometric length. The spans and the tokens that stay are shuffled together; the last span is
    cut to what is left of the share. The row is then turned in a circle, so that its ends, where few spans would lie,
    are hidden as often as its middle.
    """
    num_hidden = max(1, round(share * num_tokens))
    ends = np.minimum(np.cumsum(random.geometric(1 / mean_span, size=num_hidden)), num_hidden)
    lengths = np.diff(ends, prepend=0)
    lengths = lengths[lengths > 0]
    pieces = np.concatenate([lengths, np.ones(num_tokens - num_hidden, np.int64)])
    order = random.permutation(len(pieces))
    return np.roll(np.repeat(order < len(lengths), pieces[order]), random.integers(num_tokens))


def disguised(target: NDArray[np.int64], tokens: Tokens, *, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the tokens shown for the hidden ones, (M,): the mask token, another token, or the token itself."""
    draw = random.random(len(target))
    other = random.choice(tokens.ordinary, size=len(target))
    return np.where(draw < SHARE_MASKED, tokens.mask_id, np.where(draw < SHARE_MASKED + SHARE_REPLACED, other, target))


def logits_of(model: nn.Module, batch: MaskedBatch) -> Tensor:
    """Return the logits (M, V) of the hidden tokens."""
    device = next(model.parameters()).device
    return model(batch.input_ids.to(device), batch.attention_mask.to(device), batch.position.to(device))


def figures_of_guesses(model: nn.Module, batches: Iterator[MaskedBatch], *, precision: Precision) -> dict[str, float]:
    """Return the mean loss of the hidden tokens, and the share of them that is guessed."""
    model.eval()
    device = next(model.parameters()).device
    loss, num_right, num_hidden = 0.0, 0, 0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for batch in batches:
            logits = logits_of(model, batch).float().cpu()
            loss += functional.cross_entropy(logits, batch.target, ignore_index=NOT_COUNTED, reduction="sum").item()
            num_right += int((logits.argmax(dim=1) == batch.target).sum())
            num_hidden += batch.num_hidden
    return {"validation_loss": loss / num_hidden, "validation_accuracy": num_right / num_hidden}
