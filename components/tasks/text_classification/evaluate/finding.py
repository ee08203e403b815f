"""Findings among texts for a person to look at: slices that are surely worse, and labels that are likely wrong."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from components.evaluate.classification.finding.candidates import text_candidates
from components.evaluate.classification.finding.label_errors import suspect_labels, write_label_errors
from components.evaluate.classification.finding.labelled import read_labelled
from components.evaluate.classification.finding.parts import LABELS, SLICES, found_slices_part, label_errors_part
from components.evaluate.classification.finding.plots import save_found_slices
from components.evaluate.classification.finding.slices import find_slices, write_slices
from components.evaluate.classification.finding.unfit import part_or_reason
from components.evaluate.classification.judged import Judged
from components.evaluate.classification.linear import Choice, fitted_scores, picked
from components.evaluate.classification.metrics import Scores
from components.evaluate.classification.split import read_texts
from components.evaluate.classification.tfidf import count, weigh
from components.evaluate.stage import Inputs, Outputs
from components.params import FindTextSlices, LabelErrors, TextClassificationFigures
from components.plumbing.pages import Part


def find(
    judged: Judged, choice: Choice, params: TextClassificationFigures, inputs: Inputs, outputs: Outputs
) -> list[Part]:
    """Look for what the recipe asks for, write what is found, and return it as parts of the report's page.

    Where slices could not have enough rows, or a class has fewer than label_errors has folds, the part says so.
    """
    parts: list[Part] = []
    if (asked := params.find_slices) is not None:
        level = params.bootstrap.confidence
        parts.append(part_or_reason(SLICES, partial(worst_slices, judged, asked, level, inputs, outputs)))
    if (wanted := params.label_errors) is not None:
        parts.append(part_or_reason(LABELS, partial(label_errors, judged, choice, wanted, inputs, outputs)))
    return parts


def worst_slices(judged: Judged, settings: FindTextSlices, confidence: float, inputs: Inputs, outputs: Outputs) -> Part:
    """Find the slices on which the model is surely worse."""
    assert judged.texts is not None
    candidates = text_candidates(read_texts(inputs.train), judged.texts, settings=settings)
    found = find_slices(judged, candidates, settings=settings, confidence=confidence)
    write_slices(outputs.results, found)
    save_found_slices(outputs.plots, found)
    return found_slices_part(found)


def label_errors(judged: Judged, choice: Choice, settings: LabelErrors, inputs: Inputs, outputs: Outputs) -> Part:
    """Find the labels that a logistic regression on the baseline's features confidently disagrees with."""
    labelled = read_labelled(inputs, settings)
    everything = [text for path in (inputs.train, inputs.validation, inputs.test) for text in read_texts(path)]
    texts = picked(everything, labelled.place)
    candidate = max((one for one in choice.scores if one.kind == "logistic"), key=lambda one: choice.scores[one])
    num_classes = len(judged.labels)
    counts = count(texts, candidate.analyzer, num_classes=num_classes)

    def ask(is_asked: NDArray[np.bool_]) -> Scores:
        train, asked = weigh(counts.matrix[~is_asked], counts.matrix[is_asked])
        given = labelled.given[~is_asked]
        return probabilities(fitted_scores(candidate, train, given, asked, num_classes=num_classes, seed=settings.seed))

    found, everyone = suspect_labels(
        labelled, judged, texts=texts, classifier=candidate.name, ask=ask, settings=settings
    )
    write_label_errors(outputs.results, found, everyone)
    return label_errors_part(found)


def probabilities(scores: Scores) -> Scores:
    """Return the log odds of each class against the rest, (N, K), as probabilities that add up to 1."""
    each = expit(scores)
    return each / each.sum(axis=1, keepdims=True)
