"""Labels that are likely wrong, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, "Confident Learning:
Estimating Uncertainty in Dataset Labels").

A cheap classifier gives each row probabilities in cross-validation, so from other rows alone. A class is confident from
its threshold on: the mean probability that rows of that label have of it. A row is suspected where its most probable
confident class is not its label, and is more probable than the label; the first are those with the least margin, the
label's probability less the largest other. Left out of the paper is pruning by an estimated rate: a person looks.

The model itself has seen the training rows, so it is asked of test rows alone; where it disagrees with a label in the
same way, confidently and for the same class, the row comes first.

Legend: N rows, K classes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.finding.labelled import TEST, Labelled
from components.evaluate.classification.finding.unfit import UnfitError
from components.evaluate.classification.judged import Judged
from components.evaluate.classification.linear import folds_of
from components.evaluate.classification.metrics import Labels, Scores
from components.evaluate.classification.tables import write_csv
from components.evaluate.figures import rounded
from components.params import LabelErrors
from components.plumbing.artifacts import write_json
from components.plumbing.progress import progress

logger = logging.getLogger(__name__)

FILE, TABLE = "label_errors.json", "label_errors.csv"
MAX_LETTERS = 300
"""The letters of a text that are shown."""

Ask = Callable[[NDArray[np.bool_]], Scores]
"""A function of the rows to ask about, (N,), that trains on the others and returns their probabilities."""


@dataclass(frozen=True)
class Suspect:
    """A row whose label is suspected."""

    row: int
    """Its number in data.parquet."""
    split: str
    given: str
    """Its label."""
    suggested: str
    confidence: float
    """The probability of the label that is suggested."""
    margin: float
    """The probability of the label that was given, less that of the one suggested."""
    model_agrees: bool | None
    """Whether the model confidently suggests the same; null outside of the test split."""
    text: str | None
    """The beginning of its text; null where there is none."""


@dataclass(frozen=True)
class SuspectedLabels:
    """The labels that are suspected."""

    num_rows: int
    """The number of rows looked at: a seeded sample where there are more than the settings say."""
    splits: dict[str, int]
    """By split, the rows looked at."""
    classifier: str
    """The name of the classifier that was asked in cross-validation."""
    folds: int
    accuracy: float
    """The share of labels that the classifier gives as well: the lower, the less a suspicion means."""
    num_suspected: int
    num_model_agrees: int
    """The suspected test rows for which the model suggests the same."""
    suspects: tuple[Suspect, ...]
    """The most suspected, at most as many as the settings say."""


def suspect_labels(
    labelled: Labelled, judged: Judged, *, texts: Sequence[str] | None, classifier: str, ask: Ask,
    settings: LabelErrors,
) -> tuple[SuspectedLabels, list[Suspect]]:  # fmt: skip
    """Return what was found, and every suspected row, the most suspected first; `texts` are the N texts, or None.

    Raise UnfitError where a class has fewer rows than there are folds.
    """
    check_folds(labelled.given, judged.labels, settings.folds)
    probabilities = out_of_fold(labelled.given, len(judged.labels), ask=ask, settings=settings)
    suggested = confident_others(labelled.given, probabilities)
    of_model = dict(zip(judged.row.tolist(), confident_others(judged.actual, judged.scores).tolist(), strict=True))
    everyone: list[Suspect] = []
    for number in np.flatnonzero(suggested >= 0).tolist():
        given, other = int(labelled.given[number]), int(suggested[number])
        chance, row = probabilities[number], int(labelled.row[number])
        everyone.append(
            Suspect(
                row=row,
                split=labelled.split[number],
                given=judged.labels[given],
                suggested=judged.labels[other],
                confidence=rounded(chance[other]),
                margin=rounded(chance[given] - chance[other]),
                model_agrees=of_model[row] == other if labelled.split[number] == TEST else None,
                text=None if texts is None else shortened_text(texts[number]),
            )
        )
    everyone.sort(key=lambda one: (not one.model_agrees, one.margin, one.row))
    found = SuspectedLabels(
        num_rows=len(labelled.row),
        splits={split: labelled.split.count(split) for split in dict.fromkeys(labelled.split)},
        classifier=classifier,
        folds=settings.folds,
        accuracy=rounded((probabilities.argmax(axis=1) == labelled.given).mean()),
        num_suspected=len(everyone),
        num_model_agrees=sum(one.model_agrees is True for one in everyone),
        suspects=tuple(everyone[: settings.shown]),
    )
    return found, everyone


def check_folds(given: Labels, labels: Sequence[str], folds: int) -> None:
    """Raise UnfitError where a class that occurs has fewer rows than there are folds."""
    counts = np.bincount(given, minlength=len(labels))
    rare = np.flatnonzero((counts > 0) & (counts < folds))
    if not len(rare):
        return
    least = int(counts[rare].min())
    name = labels[int(rare[counts[rare].argmin()])]
    advice = f"write folds: {least}" if least > 1 else "give it more rows or remove it"
    raise UnfitError(
        f"evaluate.label_errors.folds is {folds}, but the label '{name}' has {least} of the {len(given):,} rows looked "
        f"at; {advice}, or leave label_errors out"
    )


def out_of_fold(given: Labels, num_classes: int, *, ask: Ask, settings: LabelErrors) -> Scores:
    """Return probabilities of each row, (N, K), from classifiers that were trained without it."""
    fold = folds_of(given, settings.folds, seed=settings.seed)
    probabilities = np.zeros((len(given), num_classes), np.float32)
    with progress("label errors", total=settings.folds) as bar:
        for number in range(settings.folds):
            probabilities[fold == number] = ask(fold == number)
            bar.update(number + 1)
    return probabilities


def confident_others(given: Labels, probabilities: Scores) -> Labels:
    """Return the class, (N,), that each row confidently is other than its label; -1 where there is none."""
    num_rows, num_classes = probabilities.shape
    counts = np.bincount(given, minlength=num_classes)
    own = probabilities[np.arange(num_rows), given]
    sums = np.bincount(given, weights=own, minlength=num_classes)
    thresholds = np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)  # (K,)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    likeliest = confident.argmax(axis=1)
    is_other = (likeliest != given) & (confident.max(axis=1) > own)
    return np.where(is_other, likeliest, -1)


def shortened_text(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text[: 2 * MAX_LETTERS].split())
    return line if len(line) <= MAX_LETTERS else f"{line[: MAX_LETTERS - 1]}…"


def write_label_errors(folder: Path, found: SuspectedLabels, everyone: Sequence[Suspect]) -> None:
    """Write what was found, and the table of all suspected rows, into the folder of results, and say it in a line."""
    write_json(folder / FILE, asdict(found))
    columns = ("place", "row", "split", "given", "suggested", "confidence", "margin", "model_agrees")
    columns += ("text",) if any(one.text is not None for one in everyone) else ()
    rows = ([place, *(getattr(one, name) for name in columns[1:])] for place, one in enumerate(everyone, start=1))
    write_csv(folder / TABLE, columns, rows)
    if not everyone:
        logger.info("label errors: none of %s labels is suspected", f"{found.num_rows:,}")
        return
    agrees = f", {found.num_model_agrees:,} of them by the model too" if found.num_model_agrees else ""
    said = f"{found.num_suspected:,} of {found.num_rows:,} labels are suspected{agrees}"
    logger.info("label errors: %s; look at results/%s from its top", said, TABLE)
