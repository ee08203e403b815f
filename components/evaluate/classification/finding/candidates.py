"""The slices that are looked at: rows of the test split that are alike in length, in a word, in content or in label.

None is chosen by the model's answers, so that a test of many is honest once it is corrected for how many they are. The
ends of the groups, the words and the clusters come from the training split; the test split is only assigned to them.

Legend: N training rows, M test rows, F features.
"""

import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from components.evaluate.classification.finding.unfit import UnfitError
from components.evaluate.classification.linear import picked, sampled
from components.evaluate.classification.metrics import Labels
from components.evaluate.classification.tfidf import weigh
from components.params import FindSlices, FindTextSlices

Kind = Literal["length", "mean", "word", "cluster", "label"]

NUM_GROUPS = 5
"""The groups by length, or by the mean of an array's numbers: fifths of the training split."""
MAX_FIT_ROWS = 20_000
"""The most training rows, a seeded sample, from which words and clusters are learned: seconds."""
MAX_CHARACTERS = 2000
"""The characters of a text whose words are read."""
MAX_VOCABULARY = 20_000
MAX_DIMENSIONS = 50
NUM_STARTS = 4
NAMING_WORDS = 3

# Blocks of scripts that put no spaces between words: Thai to Lao, Myanmar, Khmer, Kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
PIECES = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}]{{2,}}")
IS_UNSPACED = re.compile(rf"[{UNSPACED}]")


@dataclass(frozen=True)
class Candidate:
    """A slice that is looked at."""

    kind: Kind
    name: str
    """What its rows share, in words."""
    is_member: NDArray[np.bool_]
    """Whether each test row belongs to it, (M,)."""


def check_fits(settings: FindSlices, num_test: int) -> None:
    """Raise UnfitError where no slice could have `min_rows` rows and leave as many to compare it with."""
    if 2 * settings.min_rows > num_test:
        raise UnfitError(
            f"evaluate.find_slices.min_rows is {settings.min_rows}, but the test split holds {num_test} rows, so no "
            f"slice and the rest can both have as many; write {max(5, num_test // 10)}, or leave find_slices out"
        )


def text_candidates(train: Sequence[str], test: Sequence[str], *, settings: FindTextSlices) -> list[Candidate]:
    """Return the slices of texts by length, word and cluster; raise UnfitError where no slice could have `min_rows`."""
    check_fits(settings, len(test))
    fitted = picked(train, sampled(len(train), MAX_FIT_ROWS, seed=settings.seed))
    given: dict[str, Any] = {"analyzer": words_of, "max_features": MAX_VOCABULARY}
    vectorizer: Any = CountVectorizer(**given)
    found = group_candidates("length", lengths(train), lengths(test), wording="{} characters")
    if not any(words_of(text) for text in fitted):
        return found
    counts, asked = csr_matrix(vectorizer.fit_transform(fitted)), csr_matrix(vectorizer.transform(test))
    words = [str(word) for word in vectorizer.get_feature_names_out()]
    found += word_candidates(words, counts, asked, settings=settings)
    return found + text_clusters(words, *weigh(counts, asked), settings=settings)


def array_candidates(
    train: NDArray[np.float32], test: NDArray[np.float32], *, train_labels: Labels, labels: Sequence[str],
    settings: FindSlices,
) -> list[Candidate]:  # fmt: skip
    """Return the slices of arrays, (N, F) and (M, F), by the mean of their numbers and by cluster; raise UnfitError
    where no slice could have `min_rows`."""
    check_fits(settings, len(test))
    found = group_candidates("mean", means(train), means(test), wording="mean value {}")
    rows = sampled(len(train), MAX_FIT_ROWS, seed=settings.seed)
    size = min(MAX_DIMENSIONS, train.shape[1], len(rows))
    with one_way():
        pca: Any = PCA(n_components=size, svd_solver="randomized", random_state=settings.seed).fit(train[rows])
        spaces = pca.transform(train[rows]), pca.transform(test)
    known, asked = clustered(*spaces, settings=settings)
    for number in range(known.max() + 1):
        counts = np.bincount(train_labels[rows][known == number], minlength=len(labels))
        commonest = (
            f"'{labels[int(counts.argmax())]}' in {counts.max() / max(counts.sum(), 1):.0%} of its training rows"
        )
        found.append(Candidate("cluster", f"{number + 1}: {commonest}", asked == number))
    return found


def label_candidates(actual: Labels, labels: Sequence[str]) -> list[Candidate]:
    """Return the slice of each label that the test rows carry."""
    return [Candidate("label", label, actual == number) for number, label in enumerate(labels)]


def looked_at(candidates: Sequence[Candidate], *, min_rows: int) -> list[Candidate]:
    """Return the candidates that hold `min_rows` rows and leave as many; of those with the same rows the first."""
    kept: dict[bytes, Candidate] = {}
    for one in candidates:
        if min_rows <= one.is_member.sum() <= len(one.is_member) - min_rows:
            kept.setdefault(np.packbits(one.is_member).tobytes(), one)
    return list(kept.values())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, those of one letter left out; where a script has no spaces between
    words, each two neighbouring characters."""
    words: list[str] = []
    for piece in PIECES.findall(text[:MAX_CHARACTERS].casefold()):
        if IS_UNSPACED.match(piece):
            words += [piece[start : start + 2] for start in range(max(1, len(piece) - 1))]
        else:
            words.append(piece)
    return words


def lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts], np.float64)


def means(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.mean(axis=1, dtype=np.float64)


def group_candidates(
    kind: Kind, train: NDArray[np.float64], test: NDArray[np.float64], *, wording: str
) -> list[Candidate]:
    """Return the groups of test rows between the quantiles that a number has over the training rows; `wording` has a
    place for the range."""
    quantiles = np.quantile(train, np.arange(1, NUM_GROUPS) / NUM_GROUPS, method="inverted_cdf")
    ends: list[float] = np.unique(quantiles).tolist()
    member = np.searchsorted(ends, test, side="left")  # an end belongs to the group below
    ranges = [f"at most {ends[0]:.4g}", *(f"above {low:.4g} to {high:.4g}" for low, high in pairwise(ends))]
    names = [wording.format(one) for one in (*ranges, f"above {ends[-1]:.4g}")]
    return [Candidate(kind, name, member == number) for number, name in enumerate(names)]


def word_candidates(
    words: Sequence[str], counts: csr_matrix, asked: csr_matrix, *, settings: FindTextSlices
) -> list[Candidate]:
    """Return the test rows with each of the words that most training texts have and that enough test rows have."""
    known, seen = (np.bincount(matrix.indices, minlength=len(words)) for matrix in (counts, asked))
    fits = (seen >= settings.min_rows) & (seen <= len(asked.indptr) - 1 - settings.min_rows)
    order: list[int] = [int(number) for number in np.argsort(-known, kind="stable") if fits[number]]
    columns = asked.tocsc()
    found: list[Candidate] = []
    for number in order[: settings.max_words]:
        is_member = np.zeros(len(asked.indptr) - 1, np.bool_)
        is_member[columns.indices[columns.indptr[number] : columns.indptr[number + 1]]] = True
        found.append(Candidate("word", words[number], is_member))
    return found


def text_clusters(
    words: Sequence[str], train: csr_matrix, test: csr_matrix, *, settings: FindSlices
) -> list[Candidate]:
    """Return the clusters of texts by TF-IDF, each named by the words that tell it most from all texts."""
    size = min(MAX_DIMENSIONS, len(words) - 1, len(train.indptr) - 2)
    if size < 1:
        return []
    with one_way():
        svd: Any = TruncatedSVD(n_components=size, random_state=settings.seed)
        spaces: list[Any] = [normalize(svd.fit_transform(train)), normalize(svd.transform(test))]
    known, asked = clustered(*spaces, settings=settings)
    overall = np.asarray(train.mean(axis=0)).ravel()
    found: list[Candidate] = []
    for number in range(known.max() + 1):
        apart = np.asarray(train[known == number].mean(axis=0)).ravel() - overall
        telling: list[int] = np.argsort(-apart, kind="stable")[:NAMING_WORDS].tolist()
        name = ", ".join(words[column] for column in telling if apart[column] > 0)
        found.append(Candidate("cluster", f"{number + 1}: {name or 'all kinds'}", asked == number))
    return found


def clustered(
    train: NDArray[Any], test: NDArray[Any], *, settings: FindSlices
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cluster of each training row, (N,), and the one whose centre is nearest to each test row, (M,)."""
    given: dict[str, Any] = {"n_init": NUM_STARTS, "random_state": settings.seed}
    centres: Any = KMeans(min(settings.clusters, len(train)), **given)
    with one_way():
        known: NDArray[np.int32] = centres.fit_predict(train)
        asked: NDArray[np.int32] = centres.predict(test)
    return known.astype(np.int64), asked.astype(np.int64)


@contextmanager
def one_way() -> Generator[None]:
    """Add up in the same order whatever the number of cores; rows that are equal, which have no spread and fewer
    clusters, are not worth a warning."""
    with threadpool_limits(limits=1), np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
