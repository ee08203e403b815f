"""The cleaning of a column of texts, as the service cleans them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from components.plumbing.progress import progress
from serving.predictors.text import clean, cut

BATCH_ROWS = 16_384
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


@dataclass(frozen=True)
class Cleaned:
    texts: pa.LargeStringArray
    """The cleaned texts, one for each row; null where the row was null."""
    num_cut: int
    """The number of texts whose end was left out because no model with `max_tokens` reads it."""
    num_masked: int
    """The number of texts that hold a placeholder."""


def clean_column(
    column: pa.ChunkedArray, *, unicode: Literal["NFC", "NFKC"], mask: Sequence[str], max_tokens: int
) -> Cleaned:
    """Clean every text and cut the part that no model reads."""
    chunks: list[pa.LargeStringArray] = []
    num_cut = 0
    with progress("clean", total=len(column)) as bar:
        for start in range(0, len(column), BATCH_ROWS):
            texts: list[str | None] = column[start : start + BATCH_ROWS].to_pylist()
            whole = [None if text is None else clean(text, unicode=unicode, mask=mask) for text in texts]
            cleaned = [None if text is None else cut(text, max_tokens=max_tokens) for text in whole]
            num_cut += sum(text != before for text, before in zip(cleaned, whole, strict=True))
            chunks.append(pa.array(cleaned, pa.large_string()))
            bar.update(start + len(cleaned))
    texts = pa.concat_arrays([pa.array([], pa.large_string()), *chunks])
    if not mask:
        return Cleaned(texts, num_cut, num_masked=0)
    placeholders = "|".join(kind.upper() for kind in mask)
    has_placeholder = pc.match_substring_regex(texts, rf"\[({placeholders})\]")
    return Cleaned(texts, num_cut, num_masked=pc.sum(has_placeholder).as_py() or 0)
