"""Small trainings on several ranks: `python -m tests.training.on_ranks FOLDER`, as each rank of a launch, does those of
`jobs.json` in the folder, one after another."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AlbertConfig

from components import fitting
from components.estimate import prediction
from components.launching import launch
from components.models.encoder.network import classifier_of
from components.models.facts import Facts
from components.params import Devices
from components.plumbing.launched import launched
from components.tracking.tracker import NullTracker
from components.training.joining import joined
from components.training.loop import Course
from components.training.ranks import ALONE, Ranks, belonging_to
from tests.training.test_parts import CASES, COMMON, network, rows_of


@dataclass(frozen=True)
class Job:
    """A training of one of the cases of test_parts."""

    case: str
    parallel: str
    name: str
    """The name of its folder, in which another job of this name carries on."""
    changes: dict[str, Any] = field(default_factory=dict)
    """The settings that are others than the case's."""
    stop_after: int | None = None
    """The number of steps after which it stops, in a look where one is due: as a training does that is interrupted."""
    is_nested: bool = False
    """Whether the encoder is an ALBERT, whose layers lie in groups."""
    dies: tuple[int, int, str] | None = None
    """A rank, the number of a step before which it dies, and how: the name of a signal, or a message."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    history: list[dict[str, float]]
    weights: dict[str, Tensor]
    rows: list[list[list[int]]]
    """By rank, the rows that it computed at each step; those of a part that counts nothing left out."""


class StoppedError(Exception):
    """The interruption of a training."""


def run_on(size: int, folder: Path, jobs: Sequence[Job]) -> int:
    """Do the jobs on so many ranks; return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
    return launch([sys.executable, "-m", "tests.training.on_ranks", str(folder)], size)


def run_alone(folder: Path, job: Job) -> None:
    do(job, folder, ALONE)


def outcome(folder: Path, name: str, *, size: int = 1) -> Outcome:
    place = folder / name
    rows = [json.loads((place / f"rows_{rank}.json").read_text(encoding="utf-8")) for rank in range(size)]
    history = json.loads((place / "history.json").read_text(encoding="utf-8"))
    return Outcome(history, load_file(place / "weights.safetensors"), rows)


def do(job: Job, folder: Path, ranks: Ranks) -> None:
    torch.set_num_threads(1)
    ranks.parallel = job.parallel if ranks.size > 1 else ""
    place = folder / job.name
    task, facts, section, settings = CASES[job.case]
    params = section.model_validate(COMMON | settings | job.changes, strict=False)
    data = rows_of(place / f"data_{time.monotonic_ns()}", task, facts)
    make = partial(nested_network, facts) if job.is_nested else partial(network, params, facts)
    training = fitting.Training(params, facts, data, make, "pretrain", "x", place / "checkpoints")
    taken: list[list[int]] = []
    step, look = Course.step, Course.look

    def watched(self: Course, batch: Any) -> Any:
        if job.dies and [ranks.rank, self.position.step] == [*job.dies[:2]]:
            die(job.dies[2])
        if self.position.step == job.stop_after:
            raise StoppedError
        shares = self.seats[0].player.parts(batch, params.micro_batch_size)
        taken.append([int(row) for part, share in shares if share for row in getattr(part, "rows", part).row])
        return step(self, batch)

    def looked(self: Course) -> None:
        if self.position.step == job.stop_after:
            raise StoppedError
        look(self)

    Course.step, Course.look = watched, looked
    try:
        with patch.object(prediction, "BUDGET_S", 0.1):
            fit(training, place, ranks)
    except StoppedError:
        pass
    finally:
        Course.step, Course.look = step, look
    (place / f"rows_{ranks.rank}.json").write_text(json.dumps(taken), encoding="utf-8")


def fit(training: fitting.Training, place: Path, ranks: Ranks) -> None:
    found = fitting.fit(training, tracker=NullTracker())
    if not ranks.is_first:
        return
    weights = {name: value.clone() for name, value in found.model.state_dict().items()}  # tied ones on their own
    save_file(weights, place / "weights.safetensors")
    (place / "history.json").write_text(json.dumps(found.position.history), encoding="utf-8")


def nested_network(facts: Facts) -> nn.Module:
    config = AlbertConfig(
        vocab_size=facts.vocab_size, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=32, num_hidden_groups=2, inner_group_num=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return classifier_of(config, labels=["a", "b", "c"], dropout=0.0)


def die(how: str) -> None:
    if how in signal.Signals.__members__:
        os.kill(os.getpid(), signal.Signals[how])
    raise ValueError(how)


def main(folder: Path) -> int:
    jobs = [Job(**job) for job in json.loads((folder / "jobs.json").read_text(encoding="utf-8"))]
    found = launched()
    with joined(Devices(count=found.size) if found else None) as ranks, belonging_to(ranks):
        try:
            for job in jobs:
                do(job, folder, ranks)
        except Exception as error:
            told = ranks.failed(error)
            if ranks.is_first:
                (folder / "told.txt").write_text(str(told or error), encoding="utf-8")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
