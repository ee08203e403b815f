"""The baseline of models of texts: TF-IDF with logistic regression."""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from components.evaluate.classification.metrics import Labels, Scores
from components.params import Baseline
from components.plumbing.errors import InputError

MAX_ITERATIONS = 2000  # far more than the solver takes to converge; it stops by its own tolerance


def tfidf_scores(
    texts: Sequence[str], *, train: Sequence[str], train_labels: Labels, num_classes: int, settings: Baseline
) -> Scores:
    """Return the scores (N, K) of a logistic regression on TF-IDF features, trained on `train`.

    A class that `train` lacks scores 0. Raises InputError where the analyzer finds no words in the training texts.
    """
    vectorizer = TfidfVectorizer(analyzer=settings.analyzer, ngram_range=settings.ngrams, sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(train)
    except ValueError as error:
        raise InputError(
            f"the baseline finds no words in the training texts with analyzer '{settings.analyzer}' ({error}); "
            "set evaluate.baseline.analyzer to 'char'"
        ) from error
    scores = np.zeros((len(texts), num_classes), np.float32)
    classifier = LogisticRegression(C=settings.C, max_iter=MAX_ITERATIONS)
    classifier.fit(features, train_labels)
    scores[:, classifier.classes_] = classifier.predict_proba(vectorizer.transform(texts))
    return scores
