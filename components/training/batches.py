"""Batches of texts of like lengths, so that little of a batch is padding, and batches of arrays.

Legend: N rows of a split, B rows of a batch, T tokens of its longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from components.plumbing.errors import InputError

BATCHES_SORTED_TOGETHER = 64
# Rows are padded to a multiple of so many tokens: the library of a processor compiles, and keeps, a kernel for each
# length that it meets, and with all of them trains far slower.
LENGTH_STEP = 8
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Rows:
    """Tokenized rows, as preprocess stores them."""

    row: np.ndarray
    """The number of each row in data.parquet, (N,)."""
    input_ids: Sequence[np.ndarray]
    """The token ids of each row, of the row's own length."""
    label_id: np.ndarray
    """The class of each row, (N,)."""

    @cached_property
    def longest(self) -> int:
        """The number of tokens of the longest row."""
        return max((len(ids) for ids in self.input_ids), default=0)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length.

    It is that of the longest of them, rounded up to a multiple of `multiple` tokens, but never beyond the
    longest row of the split.
    """

    row: np.ndarray
    """The number of each row in data.parquet, (B,)."""
    input_ids: Tensor
    """The token ids, (B, T)."""
    attention_mask: Tensor
    """The attention mask, (B, T), 1 where a token is real."""
    label_id: Tensor
    """The class of each row, (B,)."""
    multiple: int = LENGTH_STEP

    @property
    def num_units(self) -> int:
        """The number of real tokens."""
        return int(self.attention_mask.sum())

    def parts(self, size: int) -> list["Batch"]:
        """Return the rows in parts of at most `size`, each padded only as far as its own rows need."""
        found: list[Batch] = []
        for cut in cuts(len(self.row), size):
            length = padded_length(self.attention_mask[cut], multiple=self.multiple)
            found.append(Batch(
                row=self.row[cut],
                input_ids=self.input_ids[cut, :length],
                attention_mask=self.attention_mask[cut, :length],
                label_id=self.label_id[cut],
                multiple=self.multiple,
            ))  # fmt: skip
        return found


@dataclass(frozen=True)
class Arrays:
    """Rows that are an array each, as preprocess stores them."""

    row: np.ndarray
    """The number of each row in data.parquet, (N,)."""
    values: NDArray[np.float32]
    """The values as in the source, not scaled yet, (N, *shape)."""
    label_id: np.ndarray
    """The class of each row, (N,)."""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class ArrayBatch:
    """Rows of arrays, scaled as the model reads them."""

    row: np.ndarray
    """The number of each row in data.parquet, (B,)."""
    values: Tensor
    """The scaled numbers of each row, (B, prod(shape))."""
    label_id: Tensor
    """The class of each row, (B,)."""

    @property
    def num_units(self) -> int:
        """The number of rows."""
        return len(self.row)

    def parts(self, size: int) -> list["ArrayBatch"]:
        """Return the rows in parts of at most `size`."""
        return [ArrayBatch(self.row[cut], self.values[cut], self.label_id[cut]) for cut in cuts(len(self.row), size)]


def cuts(num_rows: int, size: int) -> list[slice]:
    """Return where a batch is cut into parts of at most `size` rows."""
    return [slice(first, first + size) for first in range(0, num_rows, size)]


def padded_length(attention_mask: Tensor, *, multiple: int = LENGTH_STEP) -> int:
    """Return the number of tokens that rows (B, T) are padded to where they are a batch of their own."""
    longest = int(attention_mask.sum(dim=1).max())
    return min(-(-longest // multiple) * multiple, attention_mask.shape[1])


def rows_of_a_step(batch_size: int | Literal["full"], *, num_rows: int) -> int:
    """Return the number of rows of a batch, never more than there are; `full` stands for all of them."""
    return num_rows if batch_size == "full" else min(batch_size, num_rows)


def num_batches(num_rows: int, *, batch_size: int, steps: int | None = None) -> int:
    """Return the number of batches of an epoch: `steps`, or as many as see every row once.

    In the latter case the last batch may be smaller.
    """
    return steps or -(-num_rows // batch_size)


def check_batch_norm(
    model: nn.Module, num_rows: int, *, batch_size: int, micro_batch_size: int | None, steps: int | None, stage: str
) -> None:
    """Raise InputError where batch norm would see a batch of a single row, from which it can make no statistics, or the
    parts of a batch, whose statistics are not those of the whole."""
    if not has_batch_norm(model):
        return
    if micro_batch_size:
        raise parts_of_batch_norm(f"{stage}.micro_batch_size", "leave it out")
    last = batch_size if steps else (num_rows - 1) % batch_size + 1
    if last == 1:
        raise InputError(
            f"batch norm needs two rows or more, but of {num_rows} rows in batches of {batch_size} one batch has a "
            f"single row; change {stage}.batch_size, or set batch_norm to false"
        )


def has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(part, BATCH_NORMS) for part in model.modules())


def parts_of_batch_norm(setting: str, instead: str) -> InputError:
    """Return the error of a batch that a setting would divide, where batch norm needs it whole."""
    return InputError(
        f"batch norm makes its statistics from the rows that are computed at once, so with {setting} a step would not "
        f"be that of the whole batch; {instead}, or set batch_norm to false"
    )


def drawn(random: np.random.Generator, num_rows: int, *, batch_size: int, steps: int | None) -> NDArray[np.int64]:
    """Return the positions of an epoch's rows in a random order.

    Each row comes once, or in as many rounds as fill `steps` whole batches.
    """
    if steps is None:
        return random.permutation(num_rows)
    wanted = steps * batch_size
    rounds = [random.permutation(num_rows) for _ in range(-(-wanted // num_rows))]
    return np.concatenate(rounds)[:wanted]


def training_batches(
    rows: Rows, *, batch_size: int, pad_token_id: int, seed: int, epoch: int, start: int = 0, steps: int | None = None,
    multiple: int = LENGTH_STEP,
) -> Iterator[Batch]:  # fmt: skip
    """Yield one epoch's batches, from the `start`-th on, in an order that depends on the seed and the epoch alone.

    Rows are shuffled, sorted by length within groups of 64 batches and cut into batches, and the batches are shuffled.
    There is as little padding as after a full sort, and the order is nearly as random as without one.
    """
    random = np.random.default_rng([seed, epoch])
    lengths = np.array([len(ids) for ids in rows.input_ids])
    order = drawn(random, len(rows), batch_size=batch_size, steps=steps)
    group = batch_size * BATCHES_SORTED_TOGETHER
    batches: list[np.ndarray] = []
    for first in range(0, len(order), group):
        members = order[first : first + group]
        members = members[np.argsort(lengths[members], kind="stable")]
        batches += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    for position in random.permutation(len(batches))[start:]:
        yield collate(rows, batches[position], pad_token_id=pad_token_id, multiple=multiple)


def training_members(
    num_rows: int, *, batch_size: int, seed: int, epoch: int, start: int = 0, steps: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of the rows of each of an epoch's batches, from the `start`-th on, whatever their lengths."""
    order = drawn(np.random.default_rng([seed, epoch]), num_rows, batch_size=batch_size, steps=steps)
    for first in range(start * batch_size, len(order), batch_size):
        yield order[first : first + batch_size]


def ordered_batches(rows: Rows, *, batch_size: int, pad_token_id: int) -> Iterator[Batch]:
    """Yield batches that hold every row once, the shortest first, for measuring."""
    order = np.argsort([len(ids) for ids in rows.input_ids], kind="stable")
    for first in range(0, len(order), batch_size):
        yield collate(rows, order[first : first + batch_size], pad_token_id=pad_token_id)


def collate(rows: Rows, members: np.ndarray, *, pad_token_id: int, multiple: int = LENGTH_STEP) -> Batch:
    """Return the rows at positions `members` as one batch, padded to a multiple of `multiple` tokens."""
    longest = max(len(rows.input_ids[i]) for i in members)
    length = min(-(-longest // multiple) * multiple, rows.longest)
    input_ids = np.full((len(members), length), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros((len(members), length), dtype=np.int64)
    for line, i in enumerate(members):
        ids = rows.input_ids[i]
        input_ids[line, : len(ids)] = ids
        attention_mask[line, : len(ids)] = 1
    return Batch(
        row=rows.row[members],
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        label_id=torch.from_numpy(rows.label_id[members].astype(np.int64)),
        multiple=multiple,
    )
