"""Findings among arrays for a person to look at: slices that are surely worse, and labels that are likely wrong."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.finding.candidates import array_candidates
from components.evaluate.classification.finding.label_errors import suspect_labels, write_label_errors
from components.evaluate.classification.finding.labelled import read_labelled
from components.evaluate.classification.finding.parts import LABELS, SLICES, found_slices_part, label_errors_part
from components.evaluate.classification.finding.plots import save_found_slices
from components.evaluate.classification.finding.slices import find_slices, write_slices
from components.evaluate.classification.finding.unfit import part_or_reason
from components.evaluate.classification.judged import Judged
from components.evaluate.classification.logistic import logistic_scores
from components.evaluate.classification.metrics import Scores
from components.evaluate.classification.split import read_split
from components.evaluate.stage import Inputs, Outputs
from components.params import ArrayClassificationFigures, FindSlices, LabelErrors, LogisticBaseline
from components.plumbing.pages import Part
from components.tasks.array_classification.evaluate.values import read_values
from serving.tasks.array_classification.predictor import Predictor


def find(
    judged: Judged, params: ArrayClassificationFigures, inputs: Inputs, outputs: Outputs, *, predictor: Predictor
) -> list[Part]:
    """Look for what the recipe asks for, write what is found, and return it as parts of the report's page.

    Where slices could not have enough rows, or a class has fewer than label_errors has folds, the part says so.
    """
    parts: list[Part] = []
    if (asked := params.find_slices) is not None:
        level = params.bootstrap.confidence
        parts.append(part_or_reason(SLICES, partial(worst_slices, judged, asked, level, inputs, outputs)))
    if (wanted := params.label_errors) is not None:
        look = partial(label_errors, judged, wanted, params.baseline, inputs, outputs, predictor=predictor)
        parts.append(part_or_reason(LABELS, look))
    return parts


def worst_slices(judged: Judged, settings: FindSlices, confidence: float, inputs: Inputs, outputs: Outputs) -> Part:
    """Find the slices on which the model is surely worse."""
    candidates = array_candidates(
        read_values(inputs.train),
        read_values(inputs.test),
        train_labels=read_split(inputs.train).label_id,
        labels=judged.labels,
        settings=settings,
    )
    found = find_slices(judged, candidates, settings=settings, confidence=confidence)
    write_slices(outputs.results, found)
    save_found_slices(outputs.plots, found)
    return found_slices_part(found)


def label_errors(
    judged: Judged, settings: LabelErrors, baseline: LogisticBaseline, inputs: Inputs, outputs: Outputs, *,
    predictor: Predictor,
) -> Part:  # fmt: skip
    """Find the labels that the baseline's logistic regression confidently disagrees with."""
    labelled = read_labelled(inputs, settings)
    everything = np.concatenate([read_values(path) for path in (inputs.train, inputs.validation, inputs.test)])
    values = predictor.scaled(everything[labelled.place])

    def ask(is_asked: NDArray[np.bool_]) -> Scores:
        return logistic_scores(
            values[is_asked],
            train=values[~is_asked],
            train_labels=labelled.given[~is_asked],
            num_classes=len(judged.labels),
            settings=baseline,
        )

    found, everyone = suspect_labels(
        labelled, judged, texts=None, classifier=judged.baseline_name, ask=ask, settings=settings
    )
    write_label_errors(outputs.results, found, everyone)
    return label_errors_part(found)
