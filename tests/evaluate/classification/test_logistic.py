"""The baseline of arrays takes seconds for many rows, too, and answers as the exact one does."""

import logging
from typing import Any

import numpy as np
import pytest

from components.evaluate.classification import logistic
from components.evaluate.classification.logistic import logistic_scores
from components.params import LogisticBaseline
from components.plumbing import progress
from tests.patience import wait_until


def test_many_rows_are_fitted_coarsely_with_the_time_foretold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 20))
    labels = random.integers(3, size=900)
    values = (centres[labels] + random.normal(scale=1.5, size=(900, 20))).astype(np.float32)
    given = {"train": values[:600], "train_labels": labels[:600], "num_classes": 3}
    exact = logistic_scores(values[600:], **given, settings=LogisticBaseline(C=0.1))
    assert caplog.messages == []
    monkeypatch.setattr(logistic, "SMALL_WORK", 0)
    monkeypatch.setattr(progress, "INTERVAL_S", 0.02)
    monkeypatch.setattr(progress, "TICK_S", 0.01)
    monkeypatch.setattr(progress.Shown, "spoke", -1.0)
    fit = logistic.fit_quietly

    def fit_slowly(*given: Any) -> Any:
        if caplog.messages:  # it is told how long it takes
            wait_until(lambda: len(caplog.messages) > 1)
        return fit(*given)

    monkeypatch.setattr(logistic, "fit_quietly", fit_slowly)
    with caplog.at_level(logging.INFO):
        coarse = logistic_scores(values[600:], **given, settings=LogisticBaseline(C=0.1))
    said, *meanwhile = caplog.messages
    assert said.startswith("baseline: logistic regression on 600 rows, ")
    assert meanwhile  # one call of a library, which says nothing itself
    assert all(line.startswith("baseline, seconds at most ") for line in meanwhile)
    assert (coarse.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.98
