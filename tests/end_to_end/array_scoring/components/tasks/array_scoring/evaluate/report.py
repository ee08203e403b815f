"""evaluate for arrays that are scored: the Brier score, beside that of one probability for all.

The baseline says of every row the share of the positive label in the training split: what is known without a look at
the array.

Legend: N rows, S resamples.
"""

import time
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow.parquet as pq

from components.evaluate.bootstrap import Figures, Weights, intervals
from components.evaluate.classification.split import read_splits
from components.evaluate.figures import rounded, shortened
from components.evaluate.page import champion_part, told, write_page
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import load
from components.params.tasks.array_scoring import ArrayScoringFigures, BrierGate
from components.plumbing.artifacts import PAGE
from components.plumbing.errors import ArtifactError, QualityError
from components.plumbing.pages import Part, table
from components.tasks.array_scoring.judging.brier import Probabilities, brier, squared_errors
from components.tasks.array_scoring.judging.tables import SCORES, score_table
from components.tasks.array_scoring.judging.torch_scorer import float_scorer
from components.tracking.tracker import Tracker
from serving.tasks.array_scoring.predictor import SETTINGS, load_settings

ENDS = ("", "_low", "_high")


@dataclass(frozen=True)
class Report:
    """Figures of the test split; `_low` and `_high` are the ends of a bootstrap percentile interval."""

    num_test: int
    positive_share: float
    """Of the test split."""
    confidence: float
    """Of every interval."""
    brier: float
    brier_low: float
    brier_high: float
    baseline_brier: float
    """Of the training split's share of the positive label, said of every row."""
    baseline_brier_low: float
    baseline_brier_high: float
    gain: float
    """How far the model lies below the baseline, with its paired interval."""
    gain_low: float
    gain_high: float

    def headline(self) -> dict[str, float]:
        """What one compares."""
        return {"brier": shortened(self.brier), "gain": shortened(self.gain)}


def measure(params: ArrayScoringFigures, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the model on the test split. InputError where a split lacks a label, QualityError where the gate fails,
    ArtifactError where the model gives no numbers."""
    settings = load_settings(inputs.predictor / SETTINGS)
    train, test = read_splits(inputs, settings.labels)
    arrays = pq.read_table(inputs.test, columns=["values"])["values"].to_pylist()
    scorer = float_scorer(load(inputs.model), settings=settings)
    started = time.perf_counter()
    probability = scorer.probabilities(arrays)
    tracker.log_metrics({"rows_per_s": len(arrays) / (time.perf_counter() - started)}, step=0)
    if not np.isfinite(probability).all():
        raise ArtifactError(
            "the model's scores are not finite; train it again with a lower finetune.optimizer.learning_rate"
        )
    constant = np.full(len(arrays), train.label_id.mean())
    errors, of_constant = (squared_errors(one, test.label_id) for one in (probability, constant))
    report = summarise(errors, of_constant, positive_share=float(test.label_id.mean()), params=params)
    pq.write_table(score_table(test.row, test.label_id, probability), outputs.results / SCORES, compression="zstd")
    faults = faults_of(report, params.gate)
    write_page(
        outputs.results / PAGE,
        title=inputs.recipe,
        headline=[f"On {report.num_test:,} rows of the test split its Brier score is {report.brier:.4f}."],
        faults=faults,
        parts=[Part("Figures", figures_table(report)), Part("What was compared", champion_part(inputs.recipe))],
    )
    if faults:
        raise QualityError(f"{'; and '.join(faults)}. Train a better model, or move the limit", report=asdict(report))
    return report


def summarise(
    errors: Probabilities, of_constant: Probabilities, *, positive_share: float, params: ArrayScoringFigures
) -> Report:
    """The report of each row's squared errors, (N,)."""

    def statistic(weights: Weights) -> Figures:
        ours, theirs = brier(errors, weights), brier(of_constant, weights)
        return {"brier": ours, "baseline_brier": theirs, "gain": theirs - ours}

    found = intervals(statistic, num_rows=len(errors), bootstrap=params.bootstrap)
    figures = {
        f"{name}{end}": rounded(value)
        for name, triple in found.items()
        for end, value in zip(ENDS, triple.tolist(), strict=True)
    }
    return Report(
        num_test=len(errors),
        positive_share=rounded(positive_share),
        confidence=params.bootstrap.confidence,
        **figures,
    )


def figures_table(report: Report) -> str:
    """The score of the model and of the baseline, with their intervals, as HTML."""
    ours = report.brier, report.brier_low, report.brier_high
    theirs = report.baseline_brier, report.baseline_brier_low, report.baseline_brier_high
    rows = [("the model", told(ours)), ("one probability for all", told(theirs))]
    return table(("", "Brier score"), rows, caption="The model beside the baseline; lower is better")


def faults_of(report: Report, gate: BrierGate) -> list[str]:
    """What fails the quality gate, in words."""
    faults: list[str] = []
    if report.brier > gate.max_brier:
        faults.append(f"brier {report.brier:.4f} is above evaluate.gate.max_brier {gate.max_brier:g}")
    if report.gain_low <= gate.min_gain:
        faults.append(
            f"the gain in brier over one probability for all is {report.gain:.4f} ({report.gain_low:.4f} to "
            f"{report.gain_high:.4f}), whose lower end is not above evaluate.gate.min_gain {gate.min_gain:g}"
        )
    return faults
