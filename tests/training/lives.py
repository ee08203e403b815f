"""Trainings in processes of their own, which a SIGKILL ends at a chosen moment, and what each of them took.

A life is one process: it trains from the last checkpoint on, until it is killed or done. Lives are forked from a server
that has imported everything, and start in milliseconds.
"""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors

from components.estimate import prediction
from components.fitting import Training, fit
from components.models.encoder.network import classifier_from_encoder
from components.models.facts import read_facts
from components.models.storage import build, tensors_of
from components.params import Adapt
from components.tracking.tracker import NullTracker
from components.training import checkpoint, saving
from components.training.loop import Course
from components.training.objective import Data, Player
from components.training.seats import Seat
from tests.estimate.test_training import case, made_rows
from tests.finetune.rows import as_json, text_inputs
from tests.finetune.test_adapt import PARAMS

EVERY_OTHER_STEP = {"every_steps": 2, "keep": 2}
EARLY = {"metric": "loss", "patience": 50, "every": 4}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "arrays": ("mlp", {"early_stopping": EARLY}),
    "texts": (
        "",
        {
            "early_stopping": EARLY | {"metric": "accuracy"},
            "micro_batch_size": 8,
            "sparse_embeddings": True,
            "pad_to_multiple_of": 4,
        },
    ),
    "causal": ("gpt", {"early_stopping": EARLY, "batch_size": 4, "micro_batch_size": 2}),
    "recurrent": ("lstm", {"batch_size": 4}),
    "masked": ("encoder", {"early_stopping": EARLY, "micro_batch_size": 4}),
    "adversarial": ("gan", {"batch_size": 8}),
}
"""The trainings by name: the family's case, and what is set otherwise. All have dropout but the GAN, which draws its
latents, and has batch norm and a running mean of its weights; `texts` adapts a pretrained encoder, whose
embeddings move by rows."""


@dataclass(frozen=True)
class Moment:
    """When a life ends: after the `number`-th backward pass (of which a batch in parts has several), between the first
    and the second part of the `number`-th batch in parts, in the middle of the `number`-th of its players' steps, its
    looks, or what it does to the disk for checkpoints; or after so many seconds of training."""

    at: Literal["backward", "parts", "step", "look", "disk", "seconds"]
    number: float


def make_rows(name: str, folder: Path) -> None:
    """Write the rows of a training, drawn at random."""
    if name == "texts":
        text_inputs(folder)
        return
    task, facts, _ = settings_of(name)
    _, data = made_rows(folder, task, facts, num_train=60)
    drawn = np.random.default_rng(0)
    for path in (data.train, data.validation):
        found = load_file(path)
        if facts.shape:
            found["values"] = drawn.uniform(-1, 1, len(found["values"])).astype(np.float32)
        else:
            found["input_ids"] = drawn.integers(6, facts.vocab_size, len(found["input_ids"])).astype(np.int32)
        save_file(found, path)


def settings_of(name: str) -> tuple[str, Any, Any]:
    family, changes = TRAININGS[name]
    return case(family, **{"epochs": 3, "checkpoints": EVERY_OTHER_STEP, **changes})


def training_of(name: str, rows: Path, checkpoints: Path) -> Training:
    facts = read_facts(rows / "predictor")
    if name != "texts":
        _, _, params = settings_of(name)
        splits = (rows / "rows" / f"{split}.safetensors" for split in ("train", "validation", "unlabelled"))
        data = Data(*splits, predictor=rows / "predictor")
        return Training(params, facts, data, partial(build, params.model, facts), "tiny", "tiny", checkpoints)
    changes = {"epochs": 2, "checkpoints": EVERY_OTHER_STEP, **TRAININGS[name][1]}
    params = Adapt.model_validate_json(as_json(PARAMS, **changes))
    data = Data(rows / "train.parquet", rows / "validation.parquet", None, rows / "predictor")
    network = partial(classifier_from_encoder, rows / "encoder", labels=["negative", "positive"], dropout=0.1)
    pretrained = partial(network, pretrained=True)
    return Training(params, facts, data, partial(network, pretrained=False), "tiny", "tiny", checkpoints, pretrained)


def live(name: str, rows: Path, folder: Path, number: int, moment: Moment | None) -> None:
    """Train from the last checkpoint in `folder` on; leave each step's rows, and at the end weights and figures."""
    torch.set_num_threads(1)
    prediction.BUDGET_S = 0.1
    training = training_of(name, rows, folder / "checkpoints")
    with (folder / f"steps{number}.jsonl").open("a", encoding="utf-8") as file:
        note_steps(lambda step, taken: print(json.dumps([step, taken]), file=file, flush=True))
        if moment is not None:
            die_at(moment)
        fitted = fit(training, tracker=NullTracker())
    save_tensors(tensors_of(fitted.model), folder / "weights.safetensors")
    (folder / "position.json").write_text(json.dumps(vars(fitted.position), sort_keys=True), encoding="utf-8")


def note_steps(note: Callable[[int, list[int]], None]) -> None:
    take = Course.step

    def step(self: Course, batch: Any) -> Any:
        note(self.position.step, [int(row) for row in batch.row])
        return take(self, batch)

    Course.step = step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_at(moment: Moment) -> None:
    """Have this process killed then."""
    if moment.at == "seconds":
        begin = Course.go_to_next_look
        timer = threading.Timer(moment.number, die)
        timer.daemon = True

        def started(self: Course) -> None:
            if not timer.is_alive():
                timer.start()
            begin(self)

        Course.go_to_next_look = started
        return
    calls = 0

    def counted(owner: Any, attribute: str, *, half: Callable[..., None] = lambda *_: None) -> None:
        whole = getattr(owner, attribute)

        def call(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment.number:
                half(*given)
                die()
            return whole(*given, **named)

        setattr(owner, attribute, call)

    if moment.at == "backward":
        counted(torch.Tensor, "backward", half=lambda loss: torch.autograd.backward(loss))
    elif moment.at == "step":
        counted(Seat, "step", half=lambda seat, model, batch: seat.player.loss_of(model, batch))
    elif moment.at == "look":
        counted(Course, "look", half=half_looked)
    elif moment.at == "parts":
        divided = Player.parts

        def parts(*given: Any) -> Iterator[Any]:
            nonlocal calls
            for number, part in enumerate(divided(*given)):
                calls += number == 1
                if number and calls == moment.number:
                    die()
                yield part

        Player.parts = parts
    else:
        counted(checkpoint, "write_tensors", half=half_written)
        for owner, name in (
            (checkpoint, "write_json"),
            (checkpoint, "sync"),
            (checkpoint, "remove"),
            (saving, "rotate"),
        ):
            counted(owner, name)


def half_looked(course: Course) -> None:
    for network in course.model.modules():  # the first of them to answer ends it, before its batch is measured
        network.register_forward_hook(lambda *_: die())
    course.objective.validate(course.model)


def half_written(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_tensors(tensors, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def context() -> Any:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.training.lives"])
    return found


def lived(name: str, rows: Path, folder: Path, moments: list[Moment | None]) -> list[int]:
    """Live one life after another in `folder`; return the exit code of each, -9 for one that was killed."""
    folder.mkdir()
    codes: list[int] = []
    for number, moment in enumerate(moments):
        process = context().Process(target=live, args=(name, rows, folder, number, moment))
        process.start()
        process.join(120)
        assert process.exitcode is not None, "a life has no end"
        codes.append(process.exitcode)
    return codes


def steps_taken(folder: Path) -> dict[int, list[int]]:
    """The rows of each step that counts, by its number: of one that was taken again, those of the last time."""
    taken: dict[int, list[int]] = {}
    for path in sorted(folder.glob("steps*.jsonl"), key=lambda path: int(path.stem.removeprefix("steps"))):
        for line in path.read_text(encoding="utf-8").splitlines():
            step, rows = json.loads(line)
            taken[step] = rows
    return taken


def outcome(folder: Path) -> tuple[bytes, dict[str, Any], dict[int, list[int]]]:
    """The weights' bytes, the figures, and the rows of each step."""
    figures = json.loads((folder / "position.json").read_text(encoding="utf-8"))
    return (folder / "weights.safetensors").read_bytes(), figures, steps_taken(folder)


def random_moments(name: str, *, seed: int, num_kills: int) -> list[Moment | None]:
    drawn = random.Random(f"{name} {seed}")
    kinds: list[Moment] = []
    for _ in range(num_kills):
        at = drawn.choice(["backward", "step", "look", "disk", "seconds"])
        most = {"backward": 15, "step": 9, "look": 2, "disk": 60, "seconds": 0.0}[at]
        kinds.append(Moment(at, drawn.uniform(0.0, 0.25) if at == "seconds" else drawn.randint(1, int(most))))
    return [*kinds, None]
