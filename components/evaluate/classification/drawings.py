"""The plots of a classifier by name, each with what it shows in words."""

from functools import partial

import numpy as np

from components.evaluate.classification.judged import Found, Judged
from components.evaluate.classification.plots import (
    METRICS,
    draw_calibration,
    draw_classes,
    draw_comparison,
    draw_confusion,
    draw_curves,
    draw_slices,
)
from components.evaluate.classification.slices import Slices, worst
from components.evaluate.page import told
from components.params import ArrayClassificationFigures, TextClassificationFigures
from components.plumbing.plots import Drawing, shown

MAX_NARROW_CLASSES = 10


def drawings_of(
    judged: Judged, found: Found, slices: Slices, params: TextClassificationFigures | ArrayClassificationFigures
) -> dict[str, Drawing]:
    """Return every plot by its name."""
    names = [shown(label, label_id) for label_id, label in enumerate(judged.labels)]
    confidence, metric, baseline = params.bootstrap.confidence, params.gate.metric, judged.baseline_name
    drawings = {
        "confusion": Drawing(
            partial(draw_confusion, judged, names), words_of_confusion(judged), is_wide=len(names) > MAX_NARROW_CLASSES
        ),
        "curves": Drawing(partial(draw_curves, judged, found, names), words_of_curves(found, baseline), is_wide=True),
        "calibration": Drawing(
            partial(draw_calibration, judged, found, num_bins=params.calibration_bins), words_of_calibration(found)
        ),
        "classes": Drawing(
            partial(draw_classes, judged, found, names, confidence=confidence), words_of_classes(judged, found)
        ),
        "comparison": Drawing(
            partial(draw_comparison, found, baseline=baseline, metric=metric, confidence=confidence),
            words_of_comparison(found, baseline, metric=metric, confidence=confidence),
        ),
    }
    if slices:
        drawings["slices"] = Drawing(
            partial(draw_slices, slices, baseline, confidence=confidence), words_of_slices(slices)
        )
    return drawings


def curves_apart(judged: Judged, found: Found) -> list[Drawing]:
    """Return the two kinds of curves as a drawing each, for a page that may be narrow."""
    names = [shown(label, label_id) for label_id, label in enumerate(judged.labels)]
    return [
        Drawing(
            partial(draw_curves, judged, found, names, kinds=["roc_auc"]),
            "ROC: which share of a class is found, by the share of the other rows that is taken for it. The area is "
            f"{told(found['roc_auc'])}.",
        ),
        Drawing(
            partial(draw_curves, judged, found, names, kinds=["pr_auc"]),
            "Precision by recall: which share of what is found is right, by the share that is found. The area is "
            f"{told(found['pr_auc'])}.",
        ),
    ]


def words_of_curves(found: Found, baseline: str) -> str:
    return (
        f"ROC and precision-recall curves of the model and of {baseline}: the model's areas are "
        f"{told(found['roc_auc'])} and {told(found['pr_auc'])}."
    )


def words_of_confusion(judged: Judged) -> str:
    """Say how many rows are right, and which two classes are confused most."""
    right = int((judged.predicted == judged.actual).sum())
    words = f"Actual against predicted labels: {right:,} of {len(judged.actual):,} rows lie on the diagonal."
    pairs = confused_pairs(judged)
    if not pairs:
        return words
    actual, predicted, count = pairs[0]
    return (
        f"{words} The commonest mistake: {count:,} of '{judged.labels[actual]}' taken for '{judged.labels[predicted]}'."
    )


def confused_pairs(judged: Judged) -> list[tuple[int, int, int]]:
    """Return each actual and another predicted class with their number of rows, the commonest first."""
    wrong = judged.predicted != judged.actual
    both = np.stack([judged.actual[wrong], judged.predicted[wrong]], axis=1)
    pairs, counts = np.unique(both, axis=0, return_counts=True)
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    return [(int(pairs[n, 0]), int(pairs[n, 1]), int(counts[n])) for n in order]


def words_of_calibration(found: Found) -> str:
    return (
        "How often a prediction is right, by its score: on the diagonal, scores mean what they say. The expected "
        f"calibration error is {told(found['ece'])}; the bars below count the rows with such a score."
    )


def words_of_classes(judged: Judged, found: Found) -> str:
    f1 = found["class_f1"][:, 0]
    best, least = int(np.nanargmax(f1)), int(np.nanargmin(f1))
    return (
        f"F1 of each class, from {f1[least]:.3f} of '{judged.labels[least]}' to {f1[best]:.3f} of "
        f"'{judged.labels[best]}', with the number of rows; dashed, the mean {found['f1_macro'][0]:.3f}."
    )


def words_of_comparison(found: Found, baseline: str, *, metric: str, confidence: float) -> str:
    gain, low, high = found["gain"].tolist()
    return (
        f"The model beside {baseline} and the commonest label: it gains {gain:+z.3f} in {METRICS[metric]} on the "
        f"baseline ({confidence:.0%} interval {low:+z.3f} to {high:+z.3f})."
    )


def words_of_slices(slices: Slices) -> str:
    name = worst(slices)
    return (
        f"The accuracy of each slice, the largest on top. The least is {slices[name]['accuracy']:.3f}, of '{name}' "
        f"({slices[name]['num_rows']:,.0f} rows)."
    )
