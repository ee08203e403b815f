"""The parts of the page that every classifier has."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.evaluate.classification.drawings import confused_pairs, curves_apart
from components.evaluate.classification.judged import Found, Judged
from components.evaluate.classification.plots import METRICS
from components.evaluate.classification.slices import Slices
from components.evaluate.classification.tables import worst_mistakes
from components.evaluate.page import UNKNOWN, champion_part, item, paragraphs, quoted, told
from components.params import ArrayClassificationFigures, TextClassificationFigures
from components.plumbing.pages import Part, image, table
from components.plumbing.plots import Drawing, figure_of
from serving.predictors.pictures import png_of

ENDS = ("", "_low", "_high")
MAX_CLASSES = 60
"""The most classes that are drawn, and the most rows of a table."""
MAX_PAIRS = 12
MAX_MISTAKES = 40
PICTURE_WIDTH = 96
OTHERS = {
    "precision_macro": "precision (macro)", "recall_macro": "recall (macro)", "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC (average precision)", "ece": "expected calibration error (lower is better)",
}  # fmt: skip


def headline_of(
    judged: Judged, found: Found, params: TextClassificationFigures | ArrayClassificationFigures
) -> list[str]:
    """Return the sentences that say what was measured, on which rows, beside what, and what the gate asks."""
    gate, metric = params.gate, METRICS[params.gate.metric]
    return [
        f"On {len(judged.actual):,} rows of the test split, which the model was not trained on, its {metric} is "
        f"{told(found[gate.metric])} with a {params.bootstrap.confidence:.0%} interval; the gate asks for at least "
        f"{gate.min:g}.",
        f"On the same rows {judged.baseline_name} reaches {told(found[f'baseline_{gate.metric}'])}: the model gains "
        f"{told(found['gain'])}, and the lower end of that must be above {gate.min_gain:g}.",
    ]


def parts_of(
    judged: Judged, found: Found, slices: Slices, drawings: Mapping[str, Drawing], more: Sequence[Part],
    *, title: str, params: TextClassificationFigures | ArrayClassificationFigures,
) -> list[Part]:  # fmt: skip
    """Return the page's parts in their order; `more` are those of the task, which stand before the mistakes."""
    confusion = [figure_of(drawings["confusion"])] if len(judged.labels) <= MAX_CLASSES else []
    return [
        Part("Figures", figures_table(judged, found) + figure_of(drawings["comparison"])),
        Part("What was compared with what", compared(judged, title=title, params=params)),
        Part("Confusion", "".join(confusion) + pairs_table(judged)),
        Part("Curves", "".join(map(figure_of, curves_apart(judged, found)))),
        Part("Reliability", figure_of(drawings["calibration"])),
        Part("Classes", classes_body(judged, found, drawings["classes"])),
        *([Part("Slices", figure_of(drawings["slices"]) + slices_table(slices))] if slices else []),
        *more,
        Part("Worst mistakes", mistakes_body(judged, limit=params.num_mistakes)),
    ]


def figures_table(judged: Judged, found: Found) -> str:
    """Return the figures of the model and of what stands beside it, each with its interval."""
    systems = {"model": "", judged.baseline_name: "baseline_", "the commonest label": "majority_"}
    rows = [[system, *(told(found[prefix + name]) for name in METRICS)] for system, prefix in systems.items()]
    if judged.control is not None:
        rows.append(["the model without pretraining", told(found["control_accuracy"]), UNKNOWN, UNKNOWN])
    beside = table(("", *METRICS.values()), rows, caption="The model beside others, with intervals")
    others = [(name, told(found[key])) for key, name in OTHERS.items()]
    if judged.control is not None:
        others.append(("gain in accuracy from pretraining, paired", told(found["pretraining_gain"])))
    return f"{beside}\n{table((), others, caption='Other figures of the model')}\n"


def compared(
    judged: Judged, *, title: str, params: TextClassificationFigures | ArrayClassificationFigures
) -> str:  # fmt: skip
    """Return which rows were judged, which systems, in which way, as HTML."""
    bootstrap = params.bootstrap
    control = (
        " The model without pretraining is the same network, trained on the labels alone."
        if judged.control is not None
        else ""
    )
    return paragraphs(
        f"All answered the same {len(judged.actual):,} rows of the test split ({len(judged.labels)} labels); "
        "neither the model nor the baseline was trained on any of them.",
        f"The baseline is {judged.baseline_name}. {judged.baseline_note} The commonest label is that of the training "
        f"split, given to every row.{control}",
        f"Intervals hold {bootstrap.confidence:.0%}: percentiles of {bootstrap.num_samples:,} bootstrap samples of the "
        "rows. Gains are paired: both systems are judged on the same drawn rows, so that what is hard for both drops "
        "out. Resampling adds noise of its own to the calibration error, so its interval lies high.",
    ) + champion_part(title)


def pairs_table(judged: Judged) -> str:
    """Return the labels that are confused most, where there are more than two."""
    pairs = confused_pairs(judged)
    if len(judged.labels) == 2 or not pairs:
        return ""
    num_rows = np.bincount(judged.actual, minlength=len(judged.labels))
    rows = [
        (judged.labels[actual], judged.labels[predicted], f"{count:,}", f"{count / num_rows[actual]:.1%}")
        for actual, predicted, count in pairs[:MAX_PAIRS]
    ]
    return table(("actual", "predicted", "rows", "of the actual label"), rows, caption="Confused most often")


def classes_body(judged: Judged, found: Found, drawing: Drawing) -> str:
    """Return precision, recall and F1 of each class that occurs, the worst first."""
    num_rows = np.bincount(judged.actual, minlength=len(judged.labels))
    f1 = found["class_f1"][:, 0]
    order: list[int] = [c for c in np.argsort(f1, kind="stable").tolist() if f1[c] == f1[c]]
    rows = [
        (
            judged.labels[c],
            f"{num_rows[c]:,}",
            *(told(found[f"class_{name}"][c]) for name in ("precision", "recall", "f1")),
        )
        for c in order[:MAX_CLASSES]
    ]
    drawn = figure_of(drawing) if len(order) <= MAX_CLASSES else ""
    head = ("label", "rows", "precision", "recall", "F1")
    return drawn + table(head, rows, caption=shown_of(len(rows), len(order), "labels", "by F1, the worst first"))


def slices_table(slices: Slices) -> str:
    """Return the accuracy of each system on each slice, the worst for the model first."""
    systems = {"accuracy": "model", "baseline_accuracy": "baseline", "control_accuracy": "without pretraining"}
    known = [key for key in systems if key in next(iter(slices.values()))]
    order = sorted(slices.items(), key=lambda item: item[1]["accuracy"])
    rows = [
        (name, f"{one['num_rows']:,.0f}", *(told([one[key + end] for end in ENDS]) for key in known))
        for name, one in order[:MAX_CLASSES]
    ]
    caption = shown_of(len(rows), len(order), "slices", "by the model's accuracy, the worst first")
    return table(("slice", "rows", *(systems[key] for key in known)), rows, caption=caption)


def shown_of(num_shown: int, number: int, what: str, order: str) -> str:
    return f"{number:,} {what} {order}" if num_shown == number else f"{num_shown:,} of {number:,} {what} {order}"


def mistakes_body(judged: Judged, *, limit: int) -> str:
    """Return the mistakes of which the model was the most sure, each with its labels and score, and its text or its
    picture where there is one."""
    worst = worst_mistakes(judged, limit=min(limit, MAX_MISTAKES))
    num_wrong = int((judged.predicted != judged.actual).sum())
    if not num_wrong:
        return paragraphs("There is none: every row got its label.")
    known = f"{len(worst):,} of {num_wrong:,} mistakes, those of which the model was the most sure."
    return f'{paragraphs(known)}<ol class="quotes">\n{"".join(mistake_of(judged, index) for index in worst)}</ol>\n'


def mistake_of(judged: Judged, index: int) -> str:
    actual, predicted = judged.labels[judged.actual[index]], judged.labels[judged.predicted[index]]
    said = (
        f"'{actual}' by the data ({judged.scores[index, judged.actual[index]]:.3f}), '{predicted}' by the model "
        f"({judged.scores[index].max():.3f}); row {judged.row[index]}"
    )
    if judged.texts is not None:
        return item(quoted(judged.texts[index]), said)
    if judged.images is None:
        return item("", said)
    words = f"Row {judged.row[index]}: {actual}, taken for {predicted}"
    return item(image(png_of(judged.images[index]), words=words, width=PICTURE_WIDTH), said)
