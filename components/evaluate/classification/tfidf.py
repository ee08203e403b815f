"""TF-IDF of words and of characters, the features of the baseline of models of texts.

The n-grams are hashed into a fixed number of columns (Weinberger et al. 2009): no vocabulary is kept, which takes most
of the time otherwise, and the memory is known before. Columns that no training text has are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

Analyzer = Literal["word", "char_wb"]

NGRAMS: dict[Analyzer, tuple[int, int]] = {"word": (1, 2), "char_wb": (1, 5)}
MAX_CHARACTERS: dict[Analyzer, int] = {"word": 40_000_000, "char_wb": 8_000_000}
"""The most characters of all texts together that are read, so that it stays seconds: of more, each text is cut."""
CHOICE_SHARE = 4
"""To choose among candidates, which takes some thirty trainings, a quarter of that is read."""
LEAST_CHARACTERS = 200
MAX_COLUMN_BITS = 22
MAX_WEIGHTS = 1 << 25
"""The most weights of a linear model, one a column and class: 256 MiB."""


@dataclass(frozen=True)
class Counts:
    """The count of each n-gram in each text: a matrix (N, F) of the training texts, and how others are counted."""

    analyzer: Analyzer
    matrix: csr_matrix
    columns: NDArray[np.int64]
    """The hashed columns that some training text has."""
    bits: int
    length: int
    """The characters of a text that are read."""

    def of(self, texts: Sequence[str]) -> csr_matrix:
        """Count the n-grams of other texts, (M, F)."""
        return counted(texts, self.analyzer, bits=self.bits, length=self.length)[:, self.columns]


def count(texts: Sequence[str], analyzer: Analyzer, *, num_classes: int, is_choice: bool = False) -> Counts:
    """Count the n-grams of the training texts; `is_choice` where candidates are only compared."""
    bits = min(MAX_COLUMN_BITS, (MAX_WEIGHTS // num_classes).bit_length() - 1)
    most = MAX_CHARACTERS[analyzer] // (CHOICE_SHARE if is_choice else 1)
    length = max(LEAST_CHARACTERS, most // max(len(texts), 1))
    matrix = counted(texts, analyzer, bits=bits, length=length)
    columns = np.flatnonzero(np.bincount(matrix.indices, minlength=1 << bits))
    return Counts(analyzer, matrix[:, columns], columns, bits, length)


def counted(texts: Sequence[str], analyzer: Analyzer, *, bits: int, length: int) -> csr_matrix:
    """Count the hashed n-grams of texts, (N, 2 ** bits)."""
    vectorizer: Any = HashingVectorizer(
        analyzer=analyzer,
        ngram_range=NGRAMS[analyzer],
        n_features=1 << bits,
        alternate_sign=False,
        norm=None,  # pyright: ignore[reportArgumentType]
    )
    matrix: Any = vectorizer.transform(text[:length] for text in texts)
    return csr_matrix(matrix)


def weigh(train: csr_matrix, *others: csr_matrix) -> list[csr_matrix]:
    """Return counts as TF-IDF, with the document frequencies of the first."""
    transformer = TfidfTransformer(sublinear_tf=True).fit(train)
    return [csr_matrix(transformer.transform(counts)) for counts in (train, *others)]
