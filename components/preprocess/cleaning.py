"""The cleaning of a column of texts, as the service cleans them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from components.plumbing.progress import progress
from serving.predictors.text import MASKS, Truncate, clean, cut

BATCH_ROWS = 16_384
PLACEHOLDER = re.compile(rf"\[({'|'.join(kind.upper() for kind in MASKS)})\]")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


@dataclass(frozen=True)
class Cleaned:
    texts: pa.LargeStringArray
    """The cleaned texts, one for each row; null where the row was null."""
    num_cut: int
    """The number of texts whose end was left out because no model with `max_tokens` reads it."""
    num_masked: int
    """The number of texts that hold a placeholder."""
    num_hidden: int
    """The number of texts that are nothing but placeholders."""
    hidden: tuple[str, ...]
    """The kinds of these placeholders."""


def clean_column(
    column: pa.ChunkedArray,
    *,
    unicode: Literal["NFC", "NFKC"],
    mask: Sequence[str],
    max_tokens: int,
    emoji: Literal["names"] | None = None,
    truncate: Truncate = "head",
) -> Cleaned:
    """Clean every text and cut the part that no model reads."""
    chunks: list[pa.LargeStringArray] = []
    num_cut = 0
    with progress("clean", total=len(column)) as bar:
        for start in range(0, len(column), BATCH_ROWS):
            texts: list[str | None] = column[start : start + BATCH_ROWS].to_pylist()
            whole = [None if text is None else clean(text, unicode=unicode, mask=mask, emoji=emoji) for text in texts]
            cleaned = [None if text is None else cut(text, max_tokens=max_tokens, truncate=truncate) for text in whole]
            num_cut += sum(text != before for text, before in zip(cleaned, whole, strict=True))
            chunks.append(pa.array(cleaned, pa.large_string()))
            bar.update(start + len(cleaned))
    texts = pa.concat_arrays([pa.array([], pa.large_string()), *chunks])
    if not mask:
        return Cleaned(texts, num_cut, num_masked=0, num_hidden=0, hidden=())
    placeholders = "|".join(kind.upper() for kind in mask)
    masked: pa.LargeStringArray = pc.filter(texts, pc.match_substring_regex(texts, rf"\[({placeholders})\]"))
    kinds = [hidden_kinds(text) for text in masked.to_pylist()]
    found = set[str]().union(*kinds)
    return Cleaned(
        texts, num_cut, num_masked=len(masked), num_hidden=sum(map(bool, kinds)),
        hidden=tuple(kind for kind in mask if kind in found),
    )  # fmt: skip


def hidden_kinds(text: str) -> set[str]:
    """Return the kinds of details that a masked text is made of; none where a letter or digit is left beside them."""
    kinds = {kind.lower() for kind in PLACEHOLDER.findall(text)}
    return set() if LETTER_OR_DIGIT.search(PLACEHOLDER.sub("", text)) else kinds
