"""compress: the smallest and fastest model within the recipe's limits.

Reads the model of finetune, the splits, tokenizer and settings of preprocess, and the float model's predictions of
evaluate. Exports to ONNX, makes every candidate of the recipe, and judges each through serving/predictors, beside
torch fp32 in the same run. Writes `model/` (the folder that serving/predictors loads) and `predictions.parquet` (its
scores on the test split); the measured speeds are observations.

Torch is the reference of the speed gate called as the service calls: one row a call, one core a call, as many calls at
once. Torch on batches of like lengths is about twice as fast as that, and is measured and shown beside it.
"""

import logging
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from components.artifacts import artifact, observations, write_json
from components.compress.export import export_onnx, prune, quantize
from components.compress.measure import Speed, measure_speeds
from components.compress.plot import draw_tradeoff
from components.errors import ArtifactError, CompressionError
from components.models.encoder.network import WEIGHTS, load_classifier
from components.models.float_predictor import float_forward, float_predictor
from components.params import Compress, CompressionGate, Pruned
from components.progress import progress
from components.tracking import Tracker
from serving.predictors.text_classification import MODEL, SETTINGS, TOKENIZER, Predictor, Scores, load_settings, load_tokenizer

logger = logging.getLogger(__name__)

FLOAT = "torch fp32"
SPEEDS = "speeds.json"
SAME_SIZE = 0.01  # sizes that differ by less count as one: a zero weight takes as many bytes as any
DIGITS = 6

METHODS: dict[str, Callable[[onnx.ModelProto, Any], onnx.ModelProto]] = {
    "int8": lambda model, _: model,
    "pruned_int8": lambda model, candidate: prune(model, sparsity=candidate.sparsity),
}


@dataclass(frozen=True)
class Inputs:
    validation: Path = artifact("preprocess/validation.parquet")
    test: Path = artifact("preprocess/test.parquet")
    tokenizer: Path = artifact("preprocess/tokenizer.json")
    predictor: Path = artifact("preprocess/predictor.json")
    model: Path = artifact("finetune/model/")
    float_predictions: Path = artifact("evaluate/predictions.parquet")


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    predictions: Path = artifact("predictions.parquet")
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    method: str
    sparsity: float
    """Share of the linear layers' weights that were set to zero."""
    num_candidates: int
    num_validation: int
    num_test: int
    float_validation_accuracy: float
    validation_accuracy: float
    """Of the compressed model, as the figures below."""
    float_accuracy: float
    """On the test split, as evaluate measured it."""
    accuracy: float
    """On the test split."""
    agreement: float
    """Share of the test split that gets the float model's label."""
    mean_score_difference: float
    """From the float model's scores, on the test split."""
    float_size_bytes: int
    size_bytes: int
    """Of the model file."""
    size_ratio: float


@dataclass(frozen=True)
class Split:
    row: NDArray[np.int64]
    texts: list[str]
    label_id: NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """One compressed model, and what was found of it."""

    name: str
    method: str
    sparsity: float
    predictor: Predictor
    folder: Path
    accuracy: float
    """On the validation split."""
    size_bytes: int
    size_ratio: float


def run(params: Compress, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    settings = load_settings(inputs.predictor)
    tokenizer = load_tokenizer(inputs.tokenizer, settings)
    validation, test = read_split(inputs.validation), read_split(inputs.test)
    float_scores = read_float_scores(inputs.float_predictions, test)
    model = load_classifier(inputs.model, num_labels=len(settings.labels))
    float_size_bytes = (inputs.model / WEIGHTS).stat().st_size

    started = time.perf_counter()
    batched = float_predictor(model, tokenizer=tokenizer, settings=settings)
    float_accuracy = accuracy_of(batched.predict(validation.texts), validation)
    batched_rows_per_s = len(validation.texts) / (time.perf_counter() - started)
    one_by_one = Predictor(
        tokenizer=tokenizer, settings=settings, forward=float_forward(model), batch_size=1, threads=params.threads
    )
    with TemporaryDirectory(prefix="modelyard-compress-") as scratch:
        candidates = make_candidates(
            params, export_onnx(model), inputs, validation, scratch=Path(scratch), float_size_bytes=float_size_bytes
        )
        with torch_threads(1):
            speeds = measure_speeds(
                {FLOAT: one_by_one} | {candidate.name: candidate.predictor for candidate in candidates},
                validation.texts,
                reference=FLOAT,
                num_latency_rows=params.num_latency_rows,
            )
        float_point = (FLOAT, speeds[FLOAT].rows_per_s, float_accuracy, float_size_bytes)
        observe(outputs.observations, tracker, candidates, speeds, float_point, batched_rows_per_s)
        best = choose(candidates, speeds, params.gate, float_accuracy=float_accuracy)
        shutil.copytree(best.folder, outputs.model)
        scores = best.predictor.predict(test.texts)
    log_chosen(tracker, speeds[best.name], speeds[FLOAT], batched_rows_per_s)
    write_predictions(outputs.predictions, test, scores)
    return summarise(
        best, params, scores, float_scores, test, num_validation=len(validation.texts), float_accuracy=float_accuracy,
        float_size_bytes=float_size_bytes,
    )  # fmt: skip


def read_split(path: Path) -> Split:
    """The rows of a split of preprocess."""
    table = pq.read_table(path, columns=["row", "text", "label_id"])
    return Split(
        row=table["row"].to_numpy().astype(np.int64),
        texts=table["text"].to_pylist(),
        label_id=table["label_id"].to_numpy().astype(np.int64),
    )


def read_float_scores(path: Path, test: Split) -> Scores:
    """The float model's scores on the test split, (N, L); ArtifactError where they are of other rows."""
    table = pq.read_table(path, columns=["row", "scores"])
    if not np.array_equal(table["row"].to_numpy(), test.row):
        raise ArtifactError(f"{path} is not of the rows of the test split; run evaluate again: 'dvc repro'")
    return np.array(table["scores"].to_pylist(), np.float32)


def accuracy_of(scores: Scores, split: Split) -> float:
    return round(float((scores.argmax(axis=1) == split.label_id).mean()), DIGITS)


def make_candidates(
    params: Compress,
    exported: onnx.ModelProto,
    inputs: Inputs,
    validation: Split,
    *,
    scratch: Path,
    float_size_bytes: int,
) -> list[Candidate]:
    """Write every candidate of the recipe below `scratch`, and judge it on the validation split."""
    found: list[Candidate] = []
    with progress("compress", total=len(params.candidates)) as bar:
        for number, wanted in enumerate(params.candidates):
            sparsity = wanted.sparsity if isinstance(wanted, Pruned) else 0.0
            folder = scratch / str(number)
            folder.mkdir()
            quantize(METHODS[wanted.method](exported, wanted), folder / MODEL)
            shutil.copyfile(inputs.tokenizer, folder / TOKENIZER)
            shutil.copyfile(inputs.predictor, folder / SETTINGS)
            predictor = Predictor.load(folder, threads=params.threads)
            size_bytes = (folder / MODEL).stat().st_size
            candidate = Candidate(
                name=f"{wanted.method} {sparsity:g}" if sparsity else wanted.method,
                method=wanted.method,
                sparsity=sparsity,
                predictor=predictor,
                folder=folder,
                accuracy=accuracy_of(predictor.predict(validation.texts), validation),
                size_bytes=size_bytes,
                size_ratio=round(size_bytes / float_size_bytes, DIGITS),
            )
            found.append(candidate)
            bar.update(number + 1, {"accuracy": candidate.accuracy})
    return found


@contextmanager
def torch_threads(number: int) -> Generator[None]:
    """Let torch use this many cores for one call."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def observe(
    folder: Path, tracker: Tracker, candidates: Sequence[Candidate], speeds: Mapping[str, Speed],
    float_point: tuple[str, float, float, int], batched_rows_per_s: float,
) -> None:  # fmt: skip
    """What was measured on this machine, of every candidate: speeds.json, the picture, a line each."""
    for candidate in candidates:
        logger.info("%s", described(candidate, speeds[candidate.name], float_point[2]))
    by_name = {name: asdict(speed) for name, speed in speeds.items()}
    write_json(folder / SPEEDS, {**by_name, "torch fp32 in batches": {"rows_per_s": batched_rows_per_s}})
    points = [float_point, *((c.name, speeds[c.name].rows_per_s, c.accuracy, c.size_bytes) for c in candidates)]
    draw_tradeoff(folder / "candidates.png", points)
    tracker.log_file(folder / SPEEDS)
    tracker.log_file(folder / "candidates.png", folder="plots")


def described(candidate: Candidate, speed: Speed, float_accuracy: float) -> str:
    """One line on a candidate."""
    return (
        f"{candidate.name}: accuracy {candidate.accuracy:.4f} (float {float_accuracy:.4f}), "
        f"{candidate.size_bytes / 1e6:.1f} MB ({candidate.size_ratio:.3f} of the float model's), "
        f"{speed.rows_per_s:.0f} rows/s ({speed.speedup:.1f} times torch fp32), p99 {speed.p99_ms:.1f} ms"
    )


def choose(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], gate: CompressionGate, *, float_accuracy: float
) -> Candidate:
    """The smallest candidate within the limits; of sizes that count as one, the more accurate, then the recipe's first.

    A measured speed lets a candidate pass or fail, and ranks nothing: the choice does not turn on a busy machine.
    Raises CompressionError where none passes.
    """
    faults = {c.name: faults_of(c, speeds[c.name], gate, float_accuracy=float_accuracy) for c in candidates}
    passed = [candidate for candidate in candidates if not faults[candidate.name]]
    if not passed:
        lines = "; ".join(f"{name}: {' and '.join(found)}" for name, found in faults.items())
        raise CompressionError(
            f"no candidate is within compress.gate: {lines}. Add a candidate, train further, or move the limit",
            report=gate_report(candidates, speeds, float_accuracy=float_accuracy),
        )
    smallest = min(candidate.size_bytes for candidate in passed)
    near = [candidate for candidate in passed if candidate.size_bytes <= smallest * (1 + SAME_SIZE)]
    return max(near, key=lambda candidate: candidate.accuracy)


def faults_of(candidate: Candidate, speed: Speed, gate: CompressionGate, *, float_accuracy: float) -> list[str]:
    """Which limits a candidate breaks, with the figure and the limit."""
    faults: list[str] = []
    drop = round(float_accuracy - candidate.accuracy, DIGITS)
    if drop > gate.max_accuracy_drop:
        faults.append(
            f"accuracy {candidate.accuracy:.4f} is {drop:.4f} below the float model's {float_accuracy:.4f} "
            f"(max_accuracy_drop {gate.max_accuracy_drop:g})"
        )
    if speed.speedup < gate.min_speedup:
        faults.append(f"{speed.speedup:.2f} times the rows/s of torch fp32 (min_speedup {gate.min_speedup:g})")
    if candidate.size_ratio > gate.max_size_ratio:
        faults.append(f"{candidate.size_ratio:.3f} of the float model's bytes (max_size_ratio {gate.max_size_ratio:g})")
    return faults


def gate_report(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], *, float_accuracy: float
) -> dict[str, object]:
    """The figures that the gate judged, flat."""
    report: dict[str, object] = {"float_validation_accuracy": float_accuracy}
    for c in candidates:
        report |= {f"{c.name} accuracy": c.accuracy, f"{c.name} size_ratio": c.size_ratio}
        report |= {f"{c.name} {name}": round(value, DIGITS) for name, value in asdict(speeds[c.name]).items()}
    return report


def log_chosen(tracker: Tracker, chosen: Speed, reference: Speed, batched_rows_per_s: float) -> None:
    """The chosen model's speed as metrics, beside torch's."""
    of_float = {f"float_{name}": value for name, value in asdict(reference).items() if name != "speedup"}
    tracker.log_metrics({**asdict(chosen), **of_float, "float_batched_rows_per_s": batched_rows_per_s}, step=0)


def write_predictions(path: Path, split: Split, scores: Scores) -> None:
    """row, label_id, predicted_id, scores (a list of float32, in the order of the labels), as the split is."""
    num_rows, num_labels = scores.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_labels)
    columns = {
        "row": pa.array(split.row, pa.int64()),
        "label_id": pa.array(split.label_id, pa.int64()),
        "predicted_id": pa.array(scores.argmax(axis=1), pa.int64()),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.ravel(), pa.float32())),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def summarise(
    best: Candidate, params: Compress, scores: Scores, float_scores: Scores, test: Split, *, num_validation: int,
    float_accuracy: float, float_size_bytes: int,
) -> Report:  # fmt: skip
    """The report of the chosen model, beside the float model's answers on the same rows."""
    return Report(
        method=best.method,
        sparsity=best.sparsity,
        num_candidates=len(params.candidates),
        num_validation=num_validation,
        num_test=len(test.texts),
        float_validation_accuracy=float_accuracy,
        validation_accuracy=best.accuracy,
        float_accuracy=accuracy_of(float_scores, test),
        accuracy=accuracy_of(scores, test),
        agreement=round(float((scores.argmax(axis=1) == float_scores.argmax(axis=1)).mean()), DIGITS),
        mean_score_difference=round(float(np.abs(scores - float_scores).mean()), DIGITS),
        float_size_bytes=float_size_bytes,
        size_bytes=best.size_bytes,
        size_ratio=best.size_ratio,
    )
