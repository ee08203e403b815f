"""compress: the smallest, or the fastest, model within the recipe's limits.

Reads the model of finetune, the splits and `predictor/` of preprocess, and the float model's results of evaluate. Where
these hold a calibration, each candidate gets one of its own, fitted in the same way. A candidate is a network, exported
to ONNX, in one way of holding its numbers: the trained network, and the students that learn from it where the recipe
asks for some, in each way that the recipe names. Each is judged through serving/predictors, beside torch fp32 in the
same run. Writes `model/` (the folder that serving/predictors loads), `results/` (its answers on the test split, and
`golden.json`: requests with the answers that the service must give) and `metrics.json` (the few figures to compare
between runs); the measured speeds, and the page on all candidates, are observations.

A task takes part through its `CompressionTrial`.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from components.compress.candidates import Workshop
from components.compress.choice import Candidate, Drop, choose
from components.compress.measure import measure_speeds, torch_threads
from components.compress.paths import Inputs, Outputs
from components.compress.showing import FLOAT, FLOAT_BATCHED, log_chosen, observe
from components.compress.trial import DIGITS, CompressionTrial, FloatFigures, Tested, lost
from components.evaluate.figures import shortened
from components.params import Compress
from components.plumbing.artifacts import WHERE_KNOWN, write_json
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker

GOLDEN = "golden.json"


@dataclass(frozen=True)
class Report:
    candidate: str
    """The name of the candidate that is served, by which the measured speeds know it."""
    network: str
    """The network: the trained one, or the student of a shape, in words."""
    method: str
    sparsity: float
    """The share of the linear layers' weights that were set to zero."""
    num_candidates: int
    num_students: int
    num_students_failed: int
    """The number of further students of which none came, as their training failed or did not fit into memory."""
    batch_size: int
    """The number of rows that the service computes at once; the answers are the same in any batch."""
    num_validation: int
    num_test: int
    """The number of items in the test split: rows, documents or images."""
    judged: str
    """The part of the test split that the figures below describe, in words that follow `on`."""
    metric: str
    """The name of the metric by which every quality below is measured."""
    unit: str
    """The unit that agreement counts: rows, tokens or samples."""
    float_validation_quality: float
    validation_quality: float
    """The compressed model's quality on the validation split."""
    float_quality: float
    """The float model's quality on the part that `judged` names; it is evaluate's own figure where evaluate judged that
    part too, which it does not for a language model."""
    quality: float
    """The compressed model's quality on the part that `judged` names."""
    lost: float
    """By how much the compressed model's quality is worse there, in the terms of compress.gate.max_drop."""
    agreement: float
    """The share of units that get the float model's answer."""
    mean_difference: float
    """The mean absolute difference from the float model's probabilities or values."""
    float_size_bytes: int
    size_bytes: int
    """The total size of the compressed model's graphs in bytes."""
    size_ratio: float
    lost_low: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The lower end of the paired 95 % bootstrap interval of `lost`; None where the quality is not one of rows."""
    lost_high: float | None = field(default=None, metadata=WHERE_KNOWN)
    ece: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The expected calibration error of the compressed model's scores; None where they are not calibrated."""
    temperature: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The number by which the compressed model's logits are divided, fitted to its own scores."""
    threshold: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The least confidence of an answer in which the compressed model does not abstain."""
    coverage: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The share of rows in whose answers the compressed model does not abstain."""
    answered_precision: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The share of right ones among those."""

    def headline(self) -> dict[str, float]:
        """Return the figures to compare between runs: the compressed model's quality on the part that `judged` names
        (`served`) and on the validation split, by which settings are chosen, and its size ratio."""
        figures = {"served": self.quality, "validation": self.validation_quality, "size_ratio": self.size_ratio}
        return {name: shortened(value) for name, value in figures.items()}


def run(
    params: Compress, inputs: Inputs, outputs: Outputs, *, tracker: Tracker,
    make_trial: Callable[[Inputs], CompressionTrial[Any]], drop: Drop,
) -> Report:  # fmt: skip
    """Make the candidates, judge each, and keep the smallest within the limits; return the report on it.

    `make_trial` and `drop` are the task's. Raises CompressionError where no candidate is within the limits.
    """
    trial = make_trial(inputs)
    judged = trial.judge_float()
    reference, batched = trial.float_runner(threads=params.threads), trial.batched_runner(threads=params.threads)
    if batched is None and params.gate.min_batched_speedup is not None:
        raise InputError(
            "compress.gate.min_batched_speedup is for classifiers: what this task serves is not what torch does in "
            "batches; leave it out"
        )
    teach = None
    if params.students is not None:
        from components.compress.students import make_student  # here, so that a recipe without students trains nothing
        from components.training.objective import Data

        data = Data(inputs.train, inputs.validation, inputs.unlabelled, inputs.predictor)
        teach = partial(
            make_student, distillation=params.students.distillation, teacher=inputs.model, data=data,
            checkpoints=outputs.students,
        )  # fmt: skip
    with TemporaryDirectory(prefix="modelyard-compress-") as scratch:
        workshop = Workshop(
            params, trial, inputs, judged.quality, drop, Path(scratch), outputs.students, tracker, teach
        )
        candidates = workshop.make_all()
        with torch_threads(1):
            speeds = measure_speeds(
                {FLOAT: reference}
                | ({} if batched is None else {FLOAT_BATCHED: batched})
                | {candidate.name: candidate.runner for candidate in candidates},
                trial.items,
                trial.work,
                reference=FLOAT,
                batched=None if batched is None else FLOAT_BATCHED,
                num_latency_items=params.num_latency_rows,
            )
        observe(
            outputs.observations, tracker, trial, candidates, speeds, judged, gate=params.gate,
            worst=worst_within(judged.quality.value, params.gate.max_drop, drop=drop),
        )  # fmt: skip
        best = choose(
            candidates, speeds, params.gate, metric=trial.metric, unit=trial.unit,
            float_quality=judged.quality.value, prefer=params.prefer,
        )  # fmt: skip
        shutil.copytree(best.folder, outputs.model)
        tested = trial.test(best.runner)
    log_chosen(tracker, trial.unit, speeds, best.name, judged)
    write_results(outputs.results, tested)
    report = summarise(best, candidates, trial, judged, tested, drop=drop, num_failed=workshop.num_failed)
    write_json(outputs.metrics, report.headline())
    return report


def worst_within(float_quality: float, max_drop: float, *, drop: Drop) -> float:
    """Return the worst quality that loses no more than `max_drop`: the loss is linear in the quality."""
    a_step = drop(float_quality, float_quality + 1) - drop(float_quality, float_quality)
    return float_quality + max_drop / a_step


def write_results(folder: Path, tested: Tested) -> None:
    """Write the trial's tables and golden.json into a new folder."""
    folder.mkdir(parents=True)
    for name, table in tested.tables.items():
        pq.write_table(table, folder / name, compression="zstd")
    write_json(folder / GOLDEN, list(tested.golden))


def summarise(
    best: Candidate, candidates: Sequence[Candidate], trial: CompressionTrial[Any], judged: FloatFigures,
    tested: Tested, *, drop: Drop, num_failed: int,
) -> Report:  # fmt: skip
    """Return the report on the chosen model, with the float model's figures on the same items."""
    difference, ends = lost(tested.float_quality, tested.quality, drop=drop)
    return Report(
        candidate=best.name,
        network=best.network,
        method=best.method,
        sparsity=best.sparsity,
        num_candidates=len(candidates),
        num_students=len({one.network for one in candidates}) - 1,
        num_students_failed=num_failed,
        batch_size=best.batch_size,
        num_validation=trial.num_validation,
        num_test=tested.num_test,
        judged=tested.judged,
        metric=trial.metric,
        unit=trial.unit,
        float_validation_quality=round(judged.quality.value, DIGITS),
        validation_quality=best.quality,
        float_quality=round(tested.float_quality.value, DIGITS),
        quality=round(tested.quality.value, DIGITS),
        lost=difference,
        lost_low=None if ends is None else ends[0],
        lost_high=None if ends is None else ends[1],
        agreement=round(tested.agreement, DIGITS),
        mean_difference=round(tested.mean_difference, DIGITS),
        float_size_bytes=trial.float_size_bytes,
        size_bytes=best.size_bytes,
        size_ratio=best.size_ratio,
        **{name: round(value, DIGITS) for name, value in tested.calibration.items()},
    )
