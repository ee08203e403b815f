"""The candidates: each network, trained or a student, in each way of holding its numbers that the recipe names."""

import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
from torch import nn

from components.compress.choice import Candidate, Drop
from components.compress.measure import measure_rates, torch_threads
from components.compress.methods import METHODS
from components.compress.paths import Inputs
from components.compress.search import ShapesToTry
from components.compress.trial import DIGITS, CompressionTrial, Quality, lost
from components.params import Compress, Pruned, Shape, Students
from components.plumbing.errors import InputError, TrainingError
from components.plumbing.progress import Bar, progress
from components.tracking.named import NamedTracker
from components.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

TRAINED = "as trained"
"""The network of a candidate that is no student."""
LATENCY_ERROR = 0.1
"""By how much a student may be faster than the table of latencies tells, as a share."""
MAX_KEPT = 16
"""The most students that outlive a run: those that were asked for last."""


@dataclass
class Workshop:
    """The maker of the candidates, which judges each on the validation split."""

    params: Compress
    trial: CompressionTrial[Any]
    inputs: Inputs
    float_quality: Quality
    drop: Drop
    scratch: Path
    """The folder below which the candidates lie."""
    kept: Path
    """The folder of the students, which outlives the run."""
    tracker: Tracker
    teach: Callable[..., nn.Module] | None = None
    """A function of a shape, and of the `tracker` of its training, that makes a student; None where the recipe has
    none."""
    made: list[Candidate] = field(default_factory=list[Candidate])
    num_failed: int = 0
    """The number of students of which none came, as their training failed or did not fit into memory."""

    def make_all(self) -> list[Candidate]:
        """Make every candidate of the recipe, in its order: those of the trained network, then those of each student.

        Raise InputError where a way of holding numbers does not suit the task, or where a student has more than its
        teacher, or the task has none.
        """
        with progress("compress", total=len(self.params.candidates)) as bar:
            self.make(self.trial.export(), network=TRAINED, bar=bar)
        if self.params.students is not None:
            self.make_students(self.params.students)
        return self.made

    def make_students(self, students: Students) -> None:
        if students.search is not None:
            from components.compress.students import check_space

            check_space(students.search, teacher=self.inputs.model)
        may_reach = self.fast_enough() if students.search is not None else None
        shapes = ShapesToTry(students, may_reach=may_reach)
        for number, shape in enumerate(shapes, start=1):
            logger.info("student %d of at most %d: %s", number, len(shapes), shape.name)
            started = time.monotonic()
            graphs = self.train(shape, students)
            if graphs is None:
                shapes.tell(shape, drop=1.0, size_bytes=self.trial.float_size_bytes, took_s=time.monotonic() - started)
                continue
            first = self.make(graphs, network=shape.name)[0]
            shapes.tell(shape, drop=first.drop, size_bytes=first.size_bytes, took_s=time.monotonic() - started)
            logger.info(
                "student %d, %s: %s %.4f, %.1f MB in %s", number, shape.name, self.trial.metric, first.quality,
                first.size_bytes / 1e6, first.method,
            )  # fmt: skip
        self.kept.mkdir(parents=True, exist_ok=True)
        for old in sorted(self.kept.iterdir(), key=lambda folder: folder.stat().st_mtime)[
            : -max(MAX_KEPT, len(shapes))
        ]:
            shutil.rmtree(old, ignore_errors=True)

    def fast_enough(self) -> Callable[[Shape], bool] | None:
        """Return whether a student of a shape may keep the recipe's limits of speed, told before it is trained; None
        where the whole network keeps them already.

        Networks that are cut and not trained are timed in the recipe's first way of holding numbers.
        """
        needed = self.needed_speedup()
        if needed <= 1:
            return None
        from components.compress.students.latency import time_shapes

        with torch_threads(1):
            table = time_shapes(
                self.inputs.model, make_runner=self.untrained, items=self.trial.items, work=self.trial.work
            )
        logger.info("to be fast enough, a student must be %.2f times as fast as the whole network", needed)
        # The table leaves a low rank out of account.
        return lambda shape: shape.rank is not None or table.speedup(shape) * (1 + LATENCY_ERROR) >= needed

    def needed_speedup(self) -> float:
        """Return how many times as fast as the first candidate of the trained network a student must be."""
        trial, gate, threads = self.trial, self.params.gate, self.params.threads
        wanted: dict[str, tuple[Any, float]] = {"one by one": (trial.float_runner(threads=threads), gate.min_speedup)}
        batched = trial.batched_runner(threads=threads)
        if batched is not None and gate.min_batched_speedup is not None:
            wanted["in batches"] = batched, gate.min_batched_speedup
        runners = {"whole": self.made[0].runner, **{name: runner for name, (runner, _) in wanted.items()}}
        with torch_threads(1):
            rates = measure_rates(runners, trial.items, trial.work)
        return max(
            limit / float(np.median(np.divide(rates["whole"], rates[name]))) for name, (_, limit) in wanted.items()
        )

    def untrained(self, model: nn.Module) -> Any:
        """Return the runner of a network in the recipe's first way of holding numbers."""
        folder = Path(mkdtemp(dir=self.scratch))
        shutil.copytree(self.made[0].folder, folder, dirs_exist_ok=True)
        self.write(self.trial.export(model), self.params.candidates[0], folder)
        return self.trial.load(folder, threads=self.params.threads)

    def train(self, shape: Shape, students: Students) -> Mapping[str, onnx.ModelProto] | None:
        """Return a trained student as graphs; None where its training failed, which the search goes on without."""
        assert self.teach is not None
        try:
            model = self.teach(shape, tracker=NamedTracker(self.tracker, curves_of(shape)))
        except (TrainingError, InputError) as error:
            if shape in students.shapes and isinstance(error, InputError):
                raise
            logger.warning("the student %s is left out: %s", shape.name, error)
            self.num_failed += 1
            return None
        return self.trial.export(model)

    def make(self, graphs: Mapping[str, onnx.ModelProto], *, network: str, bar: Bar | None = None) -> list[Candidate]:
        """Make the candidates of one network, in the recipe's order."""
        before = len(self.made)
        for wanted in self.params.candidates:
            one = self.make_one(graphs, wanted, network=network)
            self.made.append(one)
            if bar is not None:
                bar.update(len(self.made), {self.trial.metric: one.quality})
        return self.made[before:]

    def write(self, graphs: Mapping[str, onnx.ModelProto], wanted: Any, folder: Path) -> None:
        for name, graph in graphs.items():
            METHODS[wanted.method](graph, wanted, folder / name, self.trial.feeds)

    def make_one(self, graphs: Mapping[str, onnx.ModelProto], wanted: Any, *, network: str) -> Candidate:
        """Write a candidate's folder, and judge it as it would be served."""
        folder, trial = self.scratch / str(len(self.made)), self.trial
        shutil.copytree(self.inputs.predictor, folder)
        self.write(graphs, wanted, folder)
        batch_size = trial.settle_batches(folder)
        limits = trial.calibrate(folder, threads=self.params.threads)
        runner = trial.load(folder, threads=self.params.threads)
        quality = trial.quality(runner)
        difference, ends = lost(self.float_quality, quality, drop=self.drop)
        size_bytes = sum((folder / name).stat().st_size for name in graphs)
        sparsity = wanted.sparsity if isinstance(wanted, Pruned) else 0.0
        return Candidate(
            name=wanted.name if network == TRAINED else f"{wanted.name}, {network}",
            method=wanted.method,
            sparsity=sparsity,
            network=network,
            runner=runner,
            folder=folder,
            quality=round(quality.value, DIGITS),
            drop=difference,
            drop_ends=ends,
            size_bytes=size_bytes,
            size_ratio=round(size_bytes / trial.float_size_bytes, DIGITS),
            batch_size=batch_size,
            limits=limits,
        )


def curves_of(shape: Shape) -> str:
    """Return what comes before the names of a student's curves: its shape, in characters that MLflow's names may have
    (`student_4_layers_ff_0.5`)."""
    return f"student_{re.sub(r'[^a-z0-9.]+', '_', shape.name)}"
