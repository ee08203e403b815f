"""Batches of rows of like lengths, so that little of a batch is padding.

Legend: B rows of a batch, T tokens of its longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BATCHES_SORTED_TOGETHER = 64


@dataclass(frozen=True)
class Rows:
    """Tokenized rows, as preprocess stores them."""

    row: np.ndarray
    """Number of each row in data.parquet, (N,)."""
    input_ids: Sequence[np.ndarray]
    """Token ids of each row, of its own length."""
    label_id: np.ndarray
    """Class of each row, (N,)."""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Batch:
    """Rows padded to the longest of them."""

    row: np.ndarray
    """(B,)"""
    input_ids: Tensor
    """(B, T)"""
    attention_mask: Tensor
    """(B, T), 1 where a token is real."""
    label_id: Tensor
    """(B,)"""


def num_batches(rows: Rows, *, batch_size: int) -> int:
    """How many batches one epoch has; the last may be smaller."""
    return -(-len(rows) // batch_size)


def training_batches(
    rows: Rows, *, batch_size: int, pad_token_id: int, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """One epoch's batches in an order that depends on the seed and the epoch alone; `start` skips the first ones.

    Rows are shuffled, sorted by length within groups of 64 batches, cut into batches, and the batches shuffled: the
    padding of a full sort, with nearly the randomness of none.
    """
    random = np.random.default_rng([seed, epoch])
    lengths = np.array([len(ids) for ids in rows.input_ids])
    order = random.permutation(len(rows))
    group = batch_size * BATCHES_SORTED_TOGETHER
    batches: list[np.ndarray] = []
    for first in range(0, len(order), group):
        members = order[first : first + group]
        members = members[np.argsort(lengths[members], kind="stable")]
        batches += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    for position in random.permutation(len(batches))[start:]:
        yield collate(rows, batches[position], pad_token_id=pad_token_id)


def ordered_batches(rows: Rows, *, batch_size: int, pad_token_id: int) -> Iterator[Batch]:
    """Every row once, shortest first: for measuring."""
    order = np.argsort([len(ids) for ids in rows.input_ids], kind="stable")
    for first in range(0, len(order), batch_size):
        yield collate(rows, order[first : first + batch_size], pad_token_id=pad_token_id)


def collate(rows: Rows, members: np.ndarray, *, pad_token_id: int) -> Batch:
    """The rows at positions `members` as one padded batch."""
    longest = max(len(rows.input_ids[i]) for i in members)
    input_ids = np.full((len(members), longest), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros((len(members), longest), dtype=np.int64)
    for line, i in enumerate(members):
        ids = rows.input_ids[i]
        input_ids[line, : len(ids)] = ids
        attention_mask[line, : len(ids)] = 1
    return Batch(
        row=rows.row[members],
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        label_id=torch.from_numpy(rows.label_id[members].astype(np.int64)),
    )
