"""The baseline of models of arrays: logistic regression on the numbers.

Of many rows the solver (L-BFGS) stops sooner: its last digits take most of the time, and a baseline needs none of them.
"""

import logging
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from components.evaluate.classification.metrics import Labels, Scores
from components.params import LogisticBaseline
from components.plumbing.progress import timed_progress

logger = logging.getLogger(__name__)

MAX_ITERATIONS = 2000  # far more than the solver takes to converge; it stops by its own tolerance
SMALL_WORK = 100_000_000
"""The most rows times numbers times classes for which seconds are enough for the solver's own tolerance."""
COARSE: dict[str, Any] = {"tol": 1e-3, "max_iter": 200}
FIRST_ITERATIONS = 5
"""The iterations by whose time that of all is foretold."""


def logistic_scores(
    values: NDArray[np.float32], *, train: NDArray[np.float32], train_labels: Labels, num_classes: int,
    settings: LogisticBaseline,
) -> Scores:  # fmt: skip
    """Return the scores (N, K) of a logistic regression on arrays (N, V), trained on `train`; a class that the training
    rows lack scores 0."""
    scores = np.zeros((len(values), num_classes), np.float32)
    if train.size * num_classes <= SMALL_WORK:
        classifier = LogisticRegression(C=settings.C, max_iter=MAX_ITERATIONS).fit(train, train_labels)
    else:
        with timed_progress("baseline", at_most_s=foretell(train, train_labels, settings)):
            classifier = fit_quietly(LogisticRegression(C=settings.C, **COARSE), train, train_labels)
    scores[:, classifier.classes_] = classifier.predict_proba(values)
    return scores


def foretell(train: NDArray[np.float32], labels: Labels, settings: LogisticBaseline) -> float:
    """Return how many seconds the baseline will take at most, by its first iterations, and say so."""
    started = time.perf_counter()
    fit_quietly(LogisticRegression(C=settings.C, max_iter=FIRST_ITERATIONS), train, labels)
    most_s = (time.perf_counter() - started) * COARSE["max_iter"] / FIRST_ITERATIONS
    logger.info("baseline: logistic regression on %s rows, %.0f s at most", f"{len(train):,}", most_s)
    return most_s


def fit_quietly(classifier: LogisticRegression, train: NDArray[np.float32], labels: Labels) -> LogisticRegression:
    """Fit a classifier whose iterations are few on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(train, labels)
