"""compress: the smallest and fastest model within the recipe's limits.

Reads the model of finetune, the splits and `predictor/` of preprocess, and the float model's results of evaluate, of
which `calibration.json` goes into each candidate's folder where it is there. Exports the model to ONNX, makes every
candidate of the recipe, and judges each through serving/predictors, beside torch fp32 in the same run. Writes `model/`
(the folder that serving/predictors loads), `results/` (its answers on the test split, and `golden.json`: requests with
the answers that the service must give) and `metrics.json` (the few figures to compare between runs); the measured
speeds are observations.

A task takes part through its `CompressionTrial`.
"""

import logging
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pyarrow.parquet as pq
import torch

from components.compress.measure import Speed, measure_speeds
from components.compress.plot import draw_tradeoff
from components.compress.pruning import prune
from components.compress.trial import CompressionTrial, FloatFigures, Tested
from components.evaluate.figures import shortened
from components.export import quantize
from components.params import Compress, CompressionGate, Pruned
from components.plumbing.artifacts import METRICS, WHERE_KNOWN, artifact, observations, write_json
from components.plumbing.errors import CompressionError
from components.plumbing.progress import progress
from components.tracking.tracker import Tracker
from serving.predictors.calibration import CALIBRATION

logger = logging.getLogger(__name__)

FLOAT = "torch fp32"
FLOAT_BATCHED = "torch fp32 in batches"
SPEEDS = "speeds.json"
GOLDEN = "golden.json"
SAME_SIZE = 0.01  # sizes that differ by less count as one: a zero weight takes as many bytes as any
DIGITS = 6

METHODS: dict[str, Callable[[onnx.ModelProto, Any, Path], None]] = {
    "fp32": lambda graph, _, path: onnx.save(graph, path),
    "int8": lambda graph, _, path: quantize(graph, path),
    "pruned_int8": lambda graph, candidate, path: quantize(prune(graph, sparsity=candidate.sparsity), path),
}


@dataclass(frozen=True)
class Inputs:
    validation: Path = artifact("preprocess/validation.parquet")
    test: Path = artifact("preprocess/test.parquet")
    predictor: Path = artifact("preprocess/predictor/")
    model: Path = artifact("finetune/model/")
    float_results: Path = artifact("evaluate/results/")


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    results: Path = artifact("results/")
    metrics: Path = artifact(METRICS)
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    method: str
    sparsity: float
    """The share of the linear layers' weights that were set to zero."""
    batch_size: int
    """The most rows of a call; each row's answer has the same bits in any such batch."""
    num_candidates: int
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
    agreement: float
    """The share of units that get the float model's answer."""
    mean_difference: float
    """The mean absolute difference from the float model's probabilities or values."""
    float_size_bytes: int
    size_bytes: int
    """The total size of the compressed model's graphs in bytes."""
    size_ratio: float
    ece: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The expected calibration error of the compressed model's scores; None where they are not calibrated."""
    coverage: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The share of rows in whose answers the compressed model does not abstain."""
    answered_precision: float | None = field(default=None, metadata=WHERE_KNOWN)
    """The share of right ones among those."""

    def headline(self) -> dict[str, float]:
        """Return the figures to compare between runs: the compressed model's quality on the part that `judged` names
        (`served`) and on the validation split, by which settings are chosen, and its size ratio."""
        figures = {"served": self.quality, "validation": self.validation_quality, "size_ratio": self.size_ratio}
        return {name: shortened(value) for name, value in figures.items()}


@dataclass(frozen=True)
class Candidate:
    """One compressed model, with its measured quality and size."""

    name: str
    method: str
    sparsity: float
    runner: Any
    folder: Path
    batch_size: int
    """The most rows of a call; each row's answer has the same bits in any such batch."""
    quality: float
    """The quality on the validation split."""
    drop: float
    """The loss of quality against the float model, on the validation split."""
    size_bytes: int
    size_ratio: float


Drop = Callable[[float, float], float]
"""A function of the float model's quality and another's that returns by how much the other is worse."""


def run(
    params: Compress, inputs: Inputs, outputs: Outputs, *, tracker: Tracker,
    make_trial: Callable[[Inputs], CompressionTrial[Any]], drop: Drop,
) -> Report:  # fmt: skip
    """Make the candidates, judge each, and keep the smallest within the limits; return the report on it.

    `make_trial` and `drop` are the task's. Raises CompressionError where no candidate is within the limits.
    """
    trial = make_trial(inputs)
    judged = trial.judge_float()
    judged = FloatFigures(quality=round(judged.quality, DIGITS), units_per_s=judged.units_per_s)
    reference = trial.float_runner(threads=params.threads)
    with TemporaryDirectory(prefix="modelyard-compress-") as scratch:
        candidates = make_candidates(params, trial, inputs, judged, drop=drop, scratch=Path(scratch))
        with torch_threads(1):
            speeds = measure_speeds(
                {FLOAT: reference} | {candidate.name: candidate.runner for candidate in candidates},
                trial.items,
                trial.work,
                reference=FLOAT,
                num_latency_items=params.num_latency_rows,
            )
        observe(outputs.observations, tracker, trial, candidates, speeds, judged)
        best = choose(candidates, speeds, params.gate, trial=trial, float_quality=judged.quality)
        shutil.copytree(best.folder, outputs.model)
        tested = trial.test(best.runner)
    log_chosen(tracker, trial, speeds[best.name], speeds[FLOAT], judged)
    write_results(outputs.results, tested)
    report = summarise(best, params, trial, judged, tested)
    write_json(outputs.metrics, report.headline())
    return report


def make_candidates(
    params: Compress, trial: CompressionTrial[Any], inputs: Inputs, judged: FloatFigures, *, drop: Drop, scratch: Path
) -> list[Candidate]:
    """Write every candidate of the recipe below `scratch` and judge it on the validation split."""
    graphs = trial.export()
    found: list[Candidate] = []
    with progress("compress", total=len(params.candidates)) as bar:
        for number, wanted in enumerate(params.candidates):
            sparsity = wanted.sparsity if isinstance(wanted, Pruned) else 0.0
            folder = scratch / str(number)
            shutil.copytree(inputs.predictor, folder)
            if (fitted := inputs.float_results / CALIBRATION).is_file():
                shutil.copy(fitted, folder)
            for name, graph in graphs.items():
                METHODS[wanted.method](graph, wanted, folder / name)
            batch_size = trial.settle_batches(folder)
            runner = trial.load(folder, threads=params.threads)
            quality = round(trial.quality(runner), DIGITS)
            size_bytes = sum((folder / name).stat().st_size for name in graphs)
            found.append(
                Candidate(
                    name=f"{wanted.method} {sparsity:g}" if sparsity else wanted.method,
                    method=wanted.method,
                    sparsity=sparsity,
                    runner=runner,
                    folder=folder,
                    batch_size=batch_size,
                    quality=quality,
                    drop=round(drop(judged.quality, quality), DIGITS),
                    size_bytes=size_bytes,
                    size_ratio=round(size_bytes / trial.float_size_bytes, DIGITS),
                )
            )
            bar.update(number + 1, {trial.metric: quality})
    return found


@contextmanager
def torch_threads(number: int) -> Generator[None]:
    """Limit torch to `number` threads per operation inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def observe(
    folder: Path, tracker: Tracker, trial: CompressionTrial[Any], candidates: Sequence[Candidate],
    speeds: Mapping[str, Speed], judged: FloatFigures,
) -> None:  # fmt: skip
    """Write the measurements on this machine of every candidate: speeds.json, the plot, and a log line for each."""
    for candidate in candidates:
        logger.info("%s", described(candidate, speeds[candidate.name], trial, judged.quality))
    by_name = {name: figures_of(speed, trial.unit) for name, speed in speeds.items()}
    batched = {f"{trial.unit}_per_s": judged.units_per_s}
    write_json(folder / SPEEDS, {**by_name, FLOAT_BATCHED: batched})
    points = [(FLOAT, speeds[FLOAT].units_per_s, judged.quality, trial.float_size_bytes)]
    points += [(c.name, speeds[c.name].units_per_s, c.quality, c.size_bytes) for c in candidates]
    draw_tradeoff(folder / "candidates.png", points, metric=trial.metric, unit=trial.unit)
    tracker.log_file(folder / SPEEDS)
    tracker.log_file(folder / "candidates.png", folder="plots")


def figures_of(speed: Speed, unit: str) -> dict[str, float]:
    """Return the figures of a speed by name, with the unit in the name of the rate."""
    figures = asdict(speed)
    return {f"{unit}_per_s": figures.pop("units_per_s"), **figures}


def described(candidate: Candidate, speed: Speed, trial: CompressionTrial[Any], float_quality: float) -> str:
    """Return one line of text on a candidate's quality, size and speed."""
    return (
        f"{candidate.name}: on the validation split {trial.metric.replace('_', ' ')} {candidate.quality:.3f} (trained "
        f"{float_quality:.3f}); {candidate.size_bytes / 1e6:.2g} MB, {candidate.size_ratio:.2f} times; "
        f"{speed.units_per_s:,.0f} {trial.unit}/s, {speed.speedup:.1f} times"
    )


def choose(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], gate: CompressionGate, *,
    trial: CompressionTrial[Any], float_quality: float,
) -> Candidate:  # fmt: skip
    """Return the smallest candidate within the limits.

    Of sizes that differ by less than SAME_SIZE, the least drop decides, then the order of the recipe. A measured speed
    lets a candidate pass or fail but does not rank it, so a busy machine does not change the choice. Raises
    CompressionError where no candidate passes.
    """
    faults = {c.name: faults_of(c, speeds[c.name], gate, trial, float_quality=float_quality) for c in candidates}
    passed = [candidate for candidate in candidates if not faults[candidate.name]]
    if not passed:
        lines = "; ".join(f"{name}: {' and '.join(found)}" for name, found in faults.items())
        raise CompressionError(
            f"no candidate is within compress.gate: {lines}. Add a candidate, train further, or move the limit",
            report=gate_report(candidates, speeds, trial, float_quality=float_quality),
        )
    smallest = min(candidate.size_bytes for candidate in passed)
    near = [candidate for candidate in passed if candidate.size_bytes <= smallest * (1 + SAME_SIZE)]
    best = min(near, key=lambda candidate: candidate.drop)
    given_up = [c for c in candidates if faults[c.name] and c.size_bytes < best.size_bytes * (1 - SAME_SIZE)]
    if given_up:
        lines = "; ".join(f"{one.name}: {' and '.join(faults[one.name])}" for one in given_up)
        logger.warning(
            "%s is served, %.1f MB: what is smaller is outside of compress.gate (%s)",
            best.name,
            best.size_bytes / 1e6,
            lines,
        )
    return best


def faults_of(
    candidate: Candidate, speed: Speed, gate: CompressionGate, trial: CompressionTrial[Any], *, float_quality: float
) -> list[str]:
    """Return the limits that a candidate breaks, in words, each with its figure."""
    faults: list[str] = []
    if not candidate.drop <= gate.max_drop:  # a quality that is not a number breaks it, too
        faults.append(
            f"{trial.metric} {candidate.quality:.4f} is {candidate.drop:.4f} worse than the float model's "
            f"{float_quality:.4f} (max_drop {gate.max_drop:g})"
        )
    if speed.speedup < gate.min_speedup:
        faults.append(f"{speed.speedup:.2f} times the {trial.unit}/s of torch fp32 (min_speedup {gate.min_speedup:g})")
    if candidate.size_ratio > gate.max_size_ratio:
        faults.append(f"{candidate.size_ratio:.3f} of the float model's bytes (max_size_ratio {gate.max_size_ratio:g})")
    return faults


def gate_report(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], trial: CompressionTrial[Any], *, float_quality: float
) -> dict[str, object]:
    """Return the figures that the gate judged, by name."""
    report: dict[str, object] = {"metric": trial.metric, "float_validation_quality": float_quality}
    for c in candidates:
        report |= {f"{c.name} quality": c.quality, f"{c.name} drop": c.drop, f"{c.name} size_ratio": c.size_ratio}
        figures = figures_of(speeds[c.name], trial.unit)
        report |= {f"{c.name} {name}": round(value, DIGITS) for name, value in figures.items()}
    return report


def log_chosen(
    tracker: Tracker, trial: CompressionTrial[Any], chosen: Speed, reference: Speed, judged: FloatFigures
) -> None:
    """Log the speed of the chosen model and of torch as metrics."""
    of_float = {f"float_{name}": value for name, value in figures_of(reference, trial.unit).items()}
    del of_float["float_speedup"]
    batched = {f"float_batched_{trial.unit}_per_s": judged.units_per_s}
    tracker.log_metrics({**figures_of(chosen, trial.unit), **of_float, **batched}, step=0)


def write_results(folder: Path, tested: Tested) -> None:
    """Write the trial's tables and golden.json into a new folder."""
    folder.mkdir(parents=True)
    for name, table in tested.tables.items():
        pq.write_table(table, folder / name, compression="zstd")
    write_json(folder / GOLDEN, list(tested.golden))


def summarise(
    best: Candidate, params: Compress, trial: CompressionTrial[Any], judged: FloatFigures, tested: Tested
) -> Report:
    """Return the report on the chosen model, with the float model's figures on the same items."""
    return Report(
        method=best.method,
        sparsity=best.sparsity,
        batch_size=best.batch_size,
        num_candidates=len(params.candidates),
        num_validation=trial.num_validation,
        num_test=tested.num_test,
        judged=tested.judged,
        metric=trial.metric,
        unit=trial.unit,
        float_validation_quality=judged.quality,
        validation_quality=best.quality,
        float_quality=round(tested.float_quality, DIGITS),
        quality=round(tested.quality, DIGITS),
        agreement=round(tested.agreement, DIGITS),
        mean_difference=round(tested.mean_difference, DIGITS),
        float_size_bytes=trial.float_size_bytes,
        size_bytes=best.size_bytes,
        size_ratio=best.size_ratio,
        **{name: round(value, DIGITS) for name, value in tested.calibration.items()},
    )
