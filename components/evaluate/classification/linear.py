"""The baseline of models of texts: the best of the cheap linear ones, chosen by cross-validation on the training split.

Tried are a linear SVM and a logistic regression on TF-IDF of words and of characters, each for a few strengths of
regularisation, and with balanced classes where the gate's metric asks for rare ones. What is tried is fixed, so that no
recipe can choose a weak rival. The test split takes no part in the choice.

Coordinate descent on the dual problem (liblinear; Hsieh et al. 2008) takes seconds for tens of thousands of texts. Of
more rows than the settings say, a seeded sample is taken. To save fits, the features are chosen with the SVM, and
logistic regression is tried on those alone.

Legend: N rows, K classes, F columns.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from components.evaluate.classification.metrics import Labels, Scores, counting_metrics
from components.evaluate.classification.tfidf import Analyzer, Counts, count, weigh
from components.evaluate.figures import rounded
from components.params import Baseline
from components.plumbing.errors import InputError
from components.plumbing.progress import progress

Kind = Literal["svm", "logistic"]
Metric = Literal["accuracy", "f1_macro", "mcc"]

STRENGTHS: dict[Kind, tuple[float, ...]] = {"svm": (0.1, 0.3, 1.0, 3.0), "logistic": (3.0, 10.0, 30.0)}
ANALYZERS: tuple[Analyzer, ...] = ("word", "char_wb")
KINDS: dict[Kind, str] = {"svm": "linear SVM", "logistic": "logistic regression"}
FEATURES: dict[Analyzer, str] = {"word": "words", "char_wb": "characters"}
MAX_ITERATIONS = 200
TOLERANCE = 0.01  # a tenth of what liblinear itself stops at
MAX_CHOICE_WORK = 200_000
"""The most rows times classes of the sample on which the choice is made: each class is a fit of its own."""
LEAST_CHOICE_ROWS = 1000


@dataclass(frozen=True)
class Candidate:
    """A cheap classifier of texts."""

    analyzer: Analyzer
    kind: Kind
    strength: float
    """The inverse strength of the regularisation, C."""
    is_balanced: bool
    """Whether each class weighs the same, however many rows it has."""

    @property
    def name(self) -> str:
        return f"{KINDS[self.kind]} on TF-IDF of {FEATURES[self.analyzer]}"


@dataclass(frozen=True)
class Choice:
    """The candidate with the best score in cross-validation, and its answers there."""

    candidate: Candidate
    score: float
    """The metric of the answers below."""
    rows: NDArray[np.int64]
    """The numbers of the rows on which the choice was made."""
    guesses: dict[Candidate, Labels]
    """The answers of each candidate to these rows, each given by one that was not trained on the row."""
    scores: dict[Candidate, float]

    def table(self) -> list[dict[str, str | float | bool]]:
        """Return what was tried, in order, with its score in cross-validation, as plain data."""
        return [
            {"name": one.name, "C": one.strength, "is_balanced": one.is_balanced, "score": rounded(score)}
            | {"is_chosen": one == self.candidate}
            for one, score in self.scores.items()
        ]


def choose(
    texts: Sequence[str], labels: Labels, *, num_classes: int, metric: Metric, settings: Baseline,
    tick: Callable[[], None] = lambda: None,
) -> Choice:  # fmt: skip
    """Choose the candidate for these texts by cross-validation; `tick` is called after each fold of each features."""
    num_rows = max(LEAST_CHOICE_ROWS, min(settings.choice_rows, MAX_CHOICE_WORK // num_classes))
    rows = sampled(len(texts), num_rows, seed=settings.seed)
    actual, taken = labels[rows], picked(texts, rows)
    fold = folds_of(actual, settings.folds, seed=settings.seed)
    weights = (False,) if metric == "accuracy" else (False, True)

    guesses: dict[Candidate, Labels] = {}
    counts = {analyzer: count(taken, analyzer, num_classes=num_classes, is_choice=True) for analyzer in ANALYZERS}
    score = scorer(actual, metric, num_classes)
    for analyzer in ANALYZERS:
        if not len(counts[analyzer].columns):  # no text has a word
            continue
        svms = [Candidate(analyzer, "svm", *rest) for rest in product(STRENGTHS["svm"], weights)]
        guesses |= cross_validated(counts[analyzer], actual, fold, svms, seed=settings.seed, tick=tick)
    if not guesses:
        raise InputError("the training texts hold no letters, digits or signs, so nothing can be learned from them")
    best = max(guesses, key=lambda one: score(guesses[one]))
    logistic = [Candidate(best.analyzer, "logistic", *rest) for rest in product(STRENGTHS["logistic"], weights)]
    guesses |= cross_validated(counts[best.analyzer], actual, fold, logistic, seed=settings.seed, tick=tick)
    scores = {one: score(found) for one, found in guesses.items()}
    best = max(scores, key=lambda one: scores[one])  # of equals the first
    return Choice(best, scores[best], rows, guesses, scores)


def best_linear_scores(
    texts: Sequence[str], *, train: Sequence[str], train_labels: Labels, num_classes: int, metric: Metric,
    settings: Baseline,
) -> tuple[Scores, Choice]:  # fmt: skip
    """Return the scores (N, K) of the best candidate, trained on `train`, and how it was chosen.

    The scores rank the classes; those of an SVM are no probabilities. A class that the training rows lack comes last.
    """
    total = (len(ANALYZERS) + 1) * settings.folds + 2
    with progress("baseline", total=total) as bar:

        def tick() -> None:
            bar.update(bar.done + 1)

        choice = choose(train, train_labels, num_classes=num_classes, metric=metric, settings=settings, tick=tick)
        rows = sampled(len(train), settings.max_rows, seed=settings.seed)
        counts = count(picked(train, rows), choice.candidate.analyzer, num_classes=num_classes)
        weighed, asked = weigh(counts.matrix, counts.of(texts))
        tick()
        scores = fitted_scores(
            choice.candidate, weighed, train_labels[rows], asked, num_classes=num_classes, seed=settings.seed
        )
        tick()
    return scores, choice


def sampled(num_rows: int, most: int, *, seed: int) -> NDArray[np.int64]:
    """Return the numbers of at most `most` rows, ascending."""
    if num_rows <= most:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, most, replace=False))


def picked(texts: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    numbers: list[int] = rows.tolist()
    return [texts[number] for number in numbers]


def folds_of(labels: Labels, num_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, (N,): the rows of each class go round the folds, in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % num_folds
    return fold


def scorer(actual: Labels, metric: Metric, num_classes: int) -> Callable[[Labels], float]:
    """Return the function that gives the metric of answers."""
    ones = np.ones((len(actual), 1), np.float32)
    return lambda guesses: float(counting_metrics(actual, guesses, num_classes=num_classes)(ones)[metric][0])


def cross_validated(
    counts: Counts, labels: Labels, fold: NDArray[np.int64], candidates: Sequence[Candidate], *, seed: int,
    tick: Callable[[], None],
) -> dict[Candidate, Labels]:  # fmt: skip
    """Return each candidate's answers to all rows, each given by one that was trained on the other folds."""
    guesses = {one: np.zeros(len(labels), np.int64) for one in candidates}
    num_classes = int(labels.max()) + 1
    for number in np.unique(fold):
        out = fold == number
        weighed, asked = weigh(counts.matrix[~out], counts.matrix[out])
        for one, found in guesses.items():
            scores = fitted_scores(one, weighed, labels[~out], asked, num_classes=num_classes, seed=seed)
            found[out] = scores.argmax(axis=1)
        tick()
    return guesses


def fitted_scores(
    candidate: Candidate, train: csr_matrix, labels: Labels, asked: csr_matrix, *, num_classes: int, seed: int
) -> Scores:
    """Return the scores (N, K) of a candidate that is trained on rows (M, F); a class without rows scores lowest."""
    num_asked: int = asked.shape[0]  # pyright: ignore[reportOptionalSubscript]
    scores = np.full((num_asked, num_classes), -np.inf, np.float32)
    classes = np.unique(labels)
    if len(classes) == 1:
        scores[:, classes] = 0
        return np.nan_to_num(scores, neginf=-1.0)
    given: dict[str, Any] = {
        "C": candidate.strength, "class_weight": "balanced" if candidate.is_balanced else None, "random_state": seed,
        "max_iter": MAX_ITERATIONS, "tol": TOLERANCE, "dual": True,
    }  # fmt: skip
    model: Any = LinearSVC(**given)
    if candidate.kind == "logistic":
        model = OneVsRestClassifier(LogisticRegression(solver="liblinear", **given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is good enough to be a rival
        found: NDArray[np.float64] = model.fit(train, labels).decision_function(asked)
    scores[:, classes] = found if found.ndim == 2 else np.stack([-found, found], axis=1)
    return np.nan_to_num(scores, neginf=float(found.min()) - abs(float(found.max())) - 1)
