"""The tokens of texts, as the served tokenizer sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

NUM_TOKENS = 200  # whose shares are compared; the others are one more


@dataclass(frozen=True)
class Tokens:
    counts: csr_array
    """How often each token is in each text, special ones left out, (N, V)."""
    unknown: NDArray[np.float64]
    """How many of each text's tokens the tokenizer does not know, (N,)."""


def count_tokens(texts: Sequence[str], predictor: Any) -> Tokens:
    """Count the tokens of each text, as the predictor reads it."""
    tokenizer = predictor.tokenizer
    ids: list[list[int]] = predictor.encode(texts)
    columns = np.array([one for row in ids for one in row], np.int64)
    ends = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    shape = (len(texts), max(tokenizer.get_vocab_size(), int(columns.max()) + 1))
    counts = csr_array((np.ones(len(columns), np.float32), columns, ends), shape=shape)
    counts.sum_duplicates()
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
    special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    left_out = [number for number in special if number != unknown]
    is_kept = np.ones(shape[1], np.float32)
    is_kept[left_out] = 0
    kept = csr_array(counts.multiply(is_kept[None, :]))
    kept.eliminate_zeros()
    found = kept[:, [unknown]].toarray().ravel() if unknown is not None else np.zeros(len(texts))
    return Tokens(kept, found.astype(np.float64))


def commonest(tokens: csr_array, *, start: int) -> csr_array:
    """Return the counts of the tokens that the reference, from row `start` on, has most of, and of all others as
    one, (N, NUM_TOKENS + 1)."""
    frequency = np.asarray(tokens[start:].sum(axis=0)).ravel()
    order = np.argsort(-frequency, kind="stable")
    group = np.full(len(order), min(NUM_TOKENS, len(order)), np.int64)
    group[order[:NUM_TOKENS]] = np.arange(min(NUM_TOKENS, len(order)))
    grouped = csr_array(
        (np.ones(len(group), np.float32), (np.arange(len(group)), group)), shape=(len(group), int(group.max()) + 1)
    )
    return csr_array(tokens @ grouped)
