"""What benchmarks/compression.py compares: a classifier as it is served, and in the runtimes to use it in by hand.

A side is one runtime with one form of the weights; a way is how it is called: rows of a batch, calls at once, threads
of a call. All sides read the same tokens or numbers, by the predictor of serving/, and make scores of their logits by
it.

Shapes: N rows, B rows of a batch, L labels.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_dynamic

from components.compress import Inputs
from components.compress.classification import ClassifierTrial
from components.export.exporter import quiet
from components.models.storage import WEIGHTS, load
from components.plumbing.artifacts import Layout
from components.tasks import task_of
from serving.predictors.batching import load_batch_size
from serving.tasks.text_classification.predictor import Predictor as TextPredictor

BATCHES = (1, 4, 8, 16, 32, 64, 128)
TRIED = 16
"""The rows of a batch in which the kinds of ways are compared first."""
THREADS = 2
WAYS_OF_CORES = ((1, THREADS), (THREADS, 1))
"""How the two cores are shared out: calls at once, and threads of a call."""
UNLIKE = 32
"""The rows of a batch by which it is seen whether a batch changes answers."""
GRAPH = "model.onnx"

Scores = NDArray[np.float32]
Forward = Callable[..., NDArray[np.float32]]
"""A function from the arrays of a batch, (B, ...) each, to logits (B, L)."""


class Runner(Protocol):
    """A predictor of serving/."""

    def predict(self, rows: Any, /) -> Scores: ...


@dataclass(frozen=True)
class Way:
    """One way to call a side."""

    kind: str
    runner: Runner
    batch_size: int = 0
    """0 where the runner itself decides."""

    @property
    def words(self) -> str:
        return f"batches of {self.batch_size}, {self.kind}" if self.batch_size else self.kind


@dataclass(frozen=True)
class Side:
    name: str
    size_bytes: int
    """The size of the files that the runtime reads of the model."""
    safety: str
    """What is safe about its files, in words."""
    ways: Sequence[Way]
    unlike: Runner
    """A runner whose calls have as many rows as they are given, up to UNLIKE."""

    @property
    def alone(self) -> Sequence[Way]:
        """The ways that one row may be run in."""
        return [way for way in self.ways if way.batch_size <= 1]


@dataclass(frozen=True)
class Subject:
    """A recipe's classifier, and what every side needs of it."""

    recipe: str
    inputs: Inputs
    trial: ClassifierTrial
    names: tuple[str, ...]
    """The names of the graph's inputs, in the order in which a predictor gives them."""
    wrap: Callable[[Forward, int, int], Runner]
    """A function from a forward, the rows of a batch and the calls at once to a predictor."""
    graph: Path
    """The model in fp32 as ONNX."""

    @property
    def is_text(self) -> bool:
        return "input_ids" in self.names

    def feeds(self, num_rows: int) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Yield what the graph reads of the first rows of the training split, one row at a time."""
        caught: list[Mapping[str, NDArray[Any]]] = []

        def catch(*arrays: NDArray[Any]) -> NDArray[np.float32]:
            caught.append(dict(zip(self.names, arrays, strict=True)))
            return np.zeros((len(arrays[0]), len(self.labels)), np.float32)

        train = pq.read_table(self.inputs.validation.with_name("train.parquet"))
        column = train["text" if self.is_text else "values"].slice(0, num_rows)
        self.wrap(catch, 1, 1).predict(column.to_pylist())
        yield from caught

    @property
    def labels(self) -> Sequence[str]:
        runner: Any = self.trial.batched
        return runner.labels


def subject_of(project: Path, recipe: str, task: str, scratch: Path) -> Subject:
    """Read a classifier of a project, and export it into a new folder of `scratch`."""
    inputs = Layout(project, recipe, "compress").inputs(Inputs)
    trial = task_of(task).compress(inputs)
    assert isinstance(trial, ClassifierTrial)
    graph = scratch / recipe / GRAPH
    graph.parent.mkdir(parents=True)
    onnx.save(trial.export()[GRAPH], graph)
    made: Any = trial.batched
    kind: Any = InBatches if isinstance(made, TextPredictor) else type(made)

    def wrap(forward: Forward, batch_size: int, threads: int) -> Runner:
        tokenizer = {"tokenizer": made.tokenizer} if kind is InBatches else {}
        return kind(
            forward=forward, batch_size=batch_size, threads=threads, settings=made.settings,
            calibration=made.calibration, **tokenizer,
        )  # fmt: skip

    names = tuple(entry.name for entry in opened(graph, threads=1).get_inputs())
    return Subject(recipe, inputs, trial, names, wrap, graph)


class InBatches(TextPredictor):
    """Texts in batches of one number of rows of like lengths, whatever they are padded by: what one writes by hand."""

    def predict(self, texts: Sequence[str]) -> Scores:
        workers = self.workers
        share = workers.share(len(texts), most=len(texts))
        parts = workers.map(self.encode, [texts[start : start + share] for start in range(0, len(texts), share)])
        ids = [row for part in parts for row in part]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        size = workers.share(len(ids), most=self.batch_size)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        scores = np.zeros((len(ids), len(self.labels)), np.float32)  # (N, L)
        found = workers.map(lambda batch: self.score([ids[row] for row in batch]), batches)
        for batch, one in zip(batches, found, strict=True):
            scores[batch] = one
        return scores if self.calibration is None else self.calibration.way.apply(scores)


def ways_of(subject: Subject, forward_of: Callable[[int, int], tuple[str, Forward, int]]) -> list[Way]:
    """Return a way for each number of rows and each sharing out of the cores.

    `forward_of` takes the calls at once and the threads of a call; it returns these in words, and a forward for so many
    calls at once as the third one says.
    """
    found: list[Way] = []
    for calls, threads in WAYS_OF_CORES:
        words, forward, at_once = forward_of(calls, threads)
        found += [Way(words, subject.wrap(forward, size, at_once), size) for size in BATCHES]
    return found


def shared_out(calls: int, threads: int) -> str:
    return f"{calls} call(s) of {threads} thread(s)"


# Ours, and torch.


def ours(subject: Subject, model: Path) -> Side:
    """The model as a bundle serves it."""
    return Side(
        "ours, as served",
        (model / GRAPH).stat().st_size,
        "ONNX, no pickle",
        [Way(f"as served, {load_batch_size(model)} row(s) a call at most", subject.trial.load(model, threads=THREADS))],
        unlike=subject.wrap(onnx_forward(subject, model / GRAPH, threads=1), UNLIKE, 1),
    )


def torch_fp32(subject: Subject) -> Side:
    """The float model in torch, with plain and with fused attention where it has some."""
    ways: list[Way] = []
    for attention in ("sdpa", "eager"):
        model = load(subject.inputs.model)
        hosted: Any = getattr(model, "hosted", None)
        named = ""
        if hasattr(hosted, "set_attn_implementation"):
            hosted.set_attn_implementation(attention)
            named = f", {attention}"

        def forward_of(
            calls: int, threads: int, model: torch.nn.Module = model, named: str = named
        ) -> tuple[str, Forward, int]:
            return shared_out(calls, threads) + named, torch_forward(model, threads=threads), calls

        ways += ways_of(subject, forward_of)
        if not named:
            break
    return Side(
        "torch fp32",
        (subject.inputs.model / WEIGHTS).stat().st_size,
        "safetensors, no pickle",
        ways,
        unlike=next(way.runner for way in ways if way.batch_size == UNLIKE),
    )


def torch_row_by_row(subject: Subject) -> Side:
    """The float model in torch as a service without batches calls it."""
    side = torch_fp32(subject)
    return replace(side, name="torch fp32, a row a call", ways=side.alone)


def torch_forward(model: torch.nn.Module, *, threads: int) -> Forward:
    @torch.inference_mode()
    def forward(*arrays: NDArray[Any]) -> NDArray[np.float32]:
        torch.set_num_threads(threads)  # of the calling thread, so each call says it
        return model(*map(torch.from_numpy, arrays)).numpy()

    return forward


# ONNX Runtime.


def onnxruntime_fp32(subject: Subject) -> Side:
    return onnxruntime_side(subject, "onnxruntime fp32", graphs_of(subject))


def onnxruntime_int8(subject: Subject) -> Side:
    """The uncompressed model after `quantize_dynamic`, with its defaults."""
    made: dict[str, Path] = {}
    for words, path in graphs_of(subject).items():
        made[words] = path.with_name(f"{path.stem}-int8.onnx")
        with quiet():
            # The type is that of what the quantizer cannot tell of, which is what the fused operators give.
            quantize_dynamic(path, made[words], extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return onnxruntime_side(subject, "onnxruntime dynamic int8", made)


def onnxruntime_side(subject: Subject, name: str, graphs: Mapping[str, Path]) -> Side:
    ways: list[Way] = []
    for words, path in graphs.items():

        def forward_of(calls: int, threads: int, path: Path = path, words: str = words) -> tuple[str, Forward, int]:
            return shared_out(calls, threads) + words, onnx_forward(subject, path, threads=threads), calls

        ways += ways_of(subject, forward_of)
    first = next(iter(graphs.values()))
    unlike = subject.wrap(onnx_forward(subject, first, threads=1), UNLIKE, 1)
    return Side(name, first.stat().st_size, "ONNX, no pickle", ways, unlike)


def graphs_of(subject: Subject) -> dict[str, Path]:
    """Return the graph in fp32, and the fused one where there is one, by what to call them."""
    found = fused(subject)
    return {"": subject.graph} | ({", fused": found} if found else {})


def fused(subject: Subject) -> Path | None:
    """Return the graph after ONNX Runtime's own optimizer of Transformers, in which attention is one operator; None for
    a network that is none, or that the optimizer breaks."""
    hosted: Any = getattr(load(subject.inputs.model), "hosted", None)
    config = getattr(hosted, "config", None)
    if config is None or config.model_type != "bert":
        return None
    from onnxruntime.transformers.optimizer import optimize_model

    path = subject.graph.with_name("fused.onnx")
    if not path.is_file():
        with quiet():
            found: Any = optimize_model(
                str(subject.graph), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
            )
            found.save_model_to_file(str(path))
    return path


def opened(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_forward(subject: Subject, path: Path, *, threads: int) -> Forward:
    session = opened(path, threads=threads)

    def forward(*arrays: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(session.run(["logits"], dict(zip(subject.names, arrays, strict=True)))[0])

    return forward


# Speed.


def rows_per_s(way: Way, rows: Sequence[Any], *, at_least_s: float) -> float:
    """Run all the rows again and again for at least so long; return the rows a second."""
    started, num_rows = time.perf_counter(), 0
    while (took := time.perf_counter() - started) < at_least_s or not num_rows:
        way.runner.predict(rows)
        num_rows += len(rows)
    return num_rows / took


def fastest(ways: Sequence[Way], rows: Sequence[Any], *, at_least_s: float) -> Way:
    """Return the way with the most rows a second on some of the rows: of all kinds in batches of TRIED, then of the
    better two in batches of every size, then of the better three of these again, on more rows."""
    kinds = [way for way in ways if way.batch_size == TRIED] or ways
    better = {way.kind for way in faster(kinds, rows, num_rows=128, at_least_s=at_least_s)[:2]}
    sizes = faster([way for way in ways if way.kind in better], rows, num_rows=128, at_least_s=at_least_s)
    return faster(sizes[:3], rows, num_rows=256, at_least_s=at_least_s)[0]


def faster(ways: Sequence[Way], rows: Sequence[Any], *, num_rows: int, at_least_s: float) -> list[Way]:
    """Return the ways, the fastest first, by some of the rows."""
    if len(ways) == 1:
        return list(ways)
    chosen = rows[:: max(1, len(rows) // num_rows)][:num_rows]
    for way in ways:
        way.runner.predict(chosen[:8])
    # The better of two: what else the machine does only slows a way down.
    rates = np.max([[rows_per_s(way, chosen, at_least_s=at_least_s) for way in ways] for _ in range(2)], axis=0)
    return [ways[at] for at in np.argsort(rates)[::-1]]
