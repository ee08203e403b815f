"""The baseline of models of arrays: logistic regression on the numbers."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from components.evaluate.classification.metrics import Labels, Scores
from components.params import LogisticBaseline

MAX_ITERATIONS = 2000  # far more than the solver takes to converge; it stops by its own tolerance


def logistic_scores(
    values: NDArray[np.float32], *, train: NDArray[np.float32], train_labels: Labels, num_classes: int,
    settings: LogisticBaseline,
) -> Scores:  # fmt: skip
    """Return the scores (N, K) of a logistic regression on arrays (N, V), trained on `train`; a class that the training
    rows lack scores 0."""
    scores = np.zeros((len(values), num_classes), np.float32)
    classifier = LogisticRegression(C=settings.C, max_iter=MAX_ITERATIONS).fit(train, train_labels)
    scores[:, classifier.classes_] = classifier.predict_proba(values)
    return scores
