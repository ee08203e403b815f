"""What the training loop costs beside the steps: data, figures, checkpoints and the tracker, as a share of a step.

    python benchmarks/loop.py [--steps 50] [--step-ms 200] [--rounds 8]

A GPT whose step takes about so long trains as a stage does: with its run in MLflow (SQLite, with the machine's load),
checkpoints, and the live line on a terminal. What is not forward, backward or optimizer, nor the look at the validation
split, is the loop's own. Beside it the same steps without tracker, checkpoints and terminal, since threads beside the
steps slow these instead: both train in turns within one process, and each round is a training of either, whichever
comes first. With so few steps each one is a point of the curves, which is the most there is.

And how long a checkpoint of a GPT of 100 M parameters, with its AdamW, keeps a training from its next step; and how
long the first batch takes of a training that carries on at step 100, and at step 99,999.
"""

import argparse
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from results import Row, Section, show

CONTEXT, VOCABULARY, BATCH = 128, 2000, 16
STEPS_TO_SIZE = 8
MOST, LONGEST_STALL_S, MOST_LATER = 0.03, 0.5, 1.2
NUM_CHECKPOINTS = 3
NUM_TEXTS, NUM_TOKENS, ROWS_OF_A_BATCH = 100_000, 100_000_000, 32
EARLY, LATE, NUM_FIRST_BATCHES = 100, 99_999, 9  # the late one is the last of an epoch: all before it is skipped
SIDES = ("ours", "bare")
COMPUTED = ("forward", "backward", "optimizer")
OWN = ("data", "figures", "checkpoints", "other")
TRIED = "points are gathered for seconds, and sent at checkpoints; see 'Points are sent together' in docs/decisions.md"
TRIED_BESIDE = "the machine's load is asked for each 5 s, the line is drawn twice a second; see docs/decisions.md"

Figures = dict[str, float]
"""Milliseconds a step, by what they were spent on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step-ms", type=float, default=200)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--side", choices=("turns", "stall", "carry_on"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "turns":
        print(json.dumps(in_turns(args.rounds, num_steps=args.steps, wanted_ms=args.step_ms)))  # noqa: T201
        return
    if args.side:
        print(json.dumps(stalls() if args.side == "stall" else first_batches()))  # noqa: T201
        return
    section = Section("loop")
    found = in_own_process("turns", rounds=args.rounds, steps=args.steps, step_ms=args.step_ms)
    rows = rows_of(list(zip(found["ours"], found["bare"], strict=True)))
    seconds = in_own_process("stall")
    rows.append(Row(
        "seconds for which a checkpoint of 100 M parameters stalls the training", seconds, f"{median(seconds):.2f} s",
        unit="", at_most=LONGEST_STALL_S, tried="its state is copied, 1.2 GB, and written by a thread beside the steps",
    ))  # fmt: skip
    for name, (early, late) in in_own_process("carry_on").items():
        rows.append(Row(
            f"the first batch of {name}, carrying on at step {LATE:,} beside step {EARLY}",
            [later / sooner for sooner, later in zip(early, late, strict=True)],
            f"{1000 * median(late):.2f} ms", f"{1000 * median(early):.2f} ms", at_most=MOST_LATER,
        ))  # fmt: skip
    show(rows, title="the loop's own cost")
    work = f"GPT of width 256, 4 layers, {found['batch_size']} rows of {CONTEXT} tokens, {args.steps} steps a round"
    section.record(rows, notes=[work])


def step_ms(found: Figures) -> float:
    return sum(found[name] for name in COMPUTED)


def rows_of(rounds: list[tuple[Figures, Figures]]) -> list[Row]:
    def share(found: Figures, *names: str) -> float:
        return sum(found[name] for name in names) / (step_ms(found) + sum(found[name] for name in OWN))

    def middle(names: tuple[str, ...]) -> str:
        return f"{median(sum(ours[name] for name in names) for ours, _ in rounds):.2f} ms a step"

    whole = [share(ours, *OWN) for ours, _ in rounds]
    steps = middle(COMPUTED)
    rows = [Row("the loop's own cost", whole, middle(OWN), f"steps of {steps}", "%", at_most=MOST, tried=TRIED)]
    for name in OWN:
        rows.append(Row(f"of it: {name}", [share(ours, name) for ours, _ in rounds], middle((name,)), unit="%"))
    beside = [share(ours, "beside") for ours, _ in rounds]
    rows.append(Row(
        "processor time of the threads beside the steps", beside, middle(("beside",)), f"steps of {steps}", "%",
        at_most=MOST, tried=TRIED_BESIDE,
    ))  # fmt: skip
    slower = [step_ms(ours) / step_ms(bare) - 1 for ours, bare in rounds]
    alone = f"{median(step_ms(bare) for _, bare in rounds):.2f} ms without tracker, checkpoints, terminal"
    rows.append(Row(
        "steps slower by what runs beside them", slower, steps, alone, "%", at_most=MOST, tried=TRIED_BESIDE
    ))  # fmt: skip
    return rows


def in_own_process(side: str, **asked: float) -> Any:
    """Return what a part of this script finds in a process of its own, which has a terminal."""
    words = ["--side", side]
    for name, value in asked.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    with terminal() as screen:
        done = subprocess.run(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=screen, text=True, check=True,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"},
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def terminal() -> Generator[int]:
    """Open a terminal of which nobody reads what is drawn."""
    master, slave = pty.openpty()

    def read() -> None:
        with suppress(OSError):
            while os.read(master, 65536):
                pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield slave
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


@dataclass
class Watch:
    """What the training of a turn spends its seconds on."""

    is_bare: bool = True
    """Whether it tells and keeps nothing."""
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def in_turns(num_rounds: int, *, num_steps: int, wanted_ms: float) -> dict[str, Any]:
    """Train in turns within this process; return each side's milliseconds of a step, by round."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    from components.plumbing.logs import configure_logging

    configure_logging()
    watch = Watch()
    observe(watch)
    found: dict[str, Any] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="modelyard-loop-") as name:
        folder = Path(name)
        sized = train_once("bare", folder, watch, num_steps=STEPS_TO_SIZE, batch_size=BATCH)
        found["batch_size"] = batch_size = max(1, round(BATCH * wanted_ms / step_ms(sized)))
        for side in SIDES:  # what the first one of each brings with it
            train_once(side, folder, watch, num_steps=STEPS_TO_SIZE, batch_size=batch_size)
        for number in range(num_rounds):
            for side in SIDES if number % 2 else SIDES[::-1]:
                found[side].append(train_once(side, folder, watch, num_steps=num_steps, batch_size=batch_size))
    return found


def train_once(side: str, folder: Path, watch: Watch, *, num_steps: int, batch_size: int) -> Figures:
    """Train, and return the milliseconds of a step by what they were spent on."""
    from components.estimate.rows import Counts, write_predictor, write_rows
    from components.fitting import Training, fit
    from components.models.facts import Facts
    from components.models.storage import build
    from components.params import PretrainFromData
    from components.tracking.stage_run import stage_run
    from components.tracking.tracker import NullTracker

    section = PretrainFromData.model_validate(settings_of(num_steps, batch_size), strict=False)
    facts = Facts(vocab_size=VOCABULARY, context=CONTEXT)
    watch.is_bare, spent = side == "bare", watch.spent
    place = Path(tempfile.mkdtemp(dir=folder))
    write_predictor(place / "predictor", "text_generation", facts)
    counts = Counts(4 * batch_size + 2, 8, 0, CONTEXT)
    data = write_rows(place / "rows", facts, counts, predictor=place / "predictor")
    checkpoints = place / "checkpoints"
    tracker: Any = NullTracker()
    with ExitStack() as stack:
        if side == "ours":
            tracker = stack.enter_context(stage_run(folder, "loop", "pretrain", unfinished=checkpoints / "run.json"))
            tracker.log_start(section.model_dump(mode="json"), {})
        network = partial(build, section.model, facts)
        work = Training(section, facts, data, network, "pretrain", "pretrain gpt", checkpoints)
        fit(work, tracker=tracker)
    known = sum(spent[one] for one in (*COMPUTED, "data", "figures", "checkpoints", "validation"))
    spent["other"] = spent["all"] - known
    return {one: 1000 * spent[one] / num_steps for one in (*COMPUTED, *OWN, "beside")}


def stalls() -> list[float]:
    """Return the seconds that the loop waits for each of several checkpoints, with none under way before it."""
    import torch

    from components.models.facts import Facts
    from components.models.storage import build
    from components.params.families import FAMILIES
    from components.training.checkpoint import Position
    from components.training.saving import Saver

    given = {"family": "gpt", "hidden_size": 768, "num_layers": 12, "num_heads": 12, "dropout": 0.0}
    settings: Any = FAMILIES["gpt"].model_validate(given)
    model = build(settings, Facts(vocab_size=18000, context=512))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    found: list[float] = []
    with tempfile.TemporaryDirectory(prefix="modelyard-loop-") as name, Saver(Path(name), keep=1) as saver:
        saver.make_room(model=model, optimizers=[optimizer])
        for step in range(NUM_CHECKPOINTS):
            saver.wait()
            began = time.perf_counter()
            saver.save(Position(step=step), model=model, optimizers=[optimizer])
            found.append(time.perf_counter() - began)
    return found


def first_batches() -> dict[str, tuple[list[float], list[float]]]:
    """Return the seconds of the first batch from an early step and from a late one, in turns."""
    import numpy as np

    from components.objectives.causal import Starts
    from components.training.batches import Rows, training_batches

    random = np.random.default_rng(0)
    ids = [random.integers(0, VOCABULARY, length) for length in random.integers(8, 64, NUM_TEXTS)]
    texts = Rows(np.arange(NUM_TEXTS), ids, np.zeros(NUM_TEXTS, dtype=np.int64))
    steps_of_an_epoch = NUM_TEXTS // ROWS_OF_A_BATCH

    def of_texts(step: int) -> Any:
        epoch, start = divmod(step, steps_of_an_epoch)
        return next(training_batches(
            texts, batch_size=ROWS_OF_A_BATCH, pad_token_id=0, seed=0, epoch=epoch, start=start
        ))  # fmt: skip

    def of_windows(step: int) -> Any:
        starts = Starts(NUM_TOKENS, context=CONTEXT, seed=0)
        return starts.take(step * ROWS_OF_A_BATCH, (step + 1) * ROWS_OF_A_BATCH)

    found: dict[str, tuple[list[float], list[float]]] = {}
    for name, first in {"100,000 texts": of_texts, "100 M tokens": of_windows}.items():
        first(EARLY)
        found[name] = [], []
        for _ in range(NUM_FIRST_BATCHES):
            for step, seconds in zip((EARLY, LATE), found[name], strict=True):
                began = time.perf_counter()
                first(step)
                seconds.append(time.perf_counter() - began)
    return found


def settings_of(num_steps: int, batch_size: int) -> dict[str, Any]:
    return {
        "mode": "train", "source": None, "seed": 0, "epochs": 1, "steps_per_epoch": num_steps, "batch_size": batch_size,
        "precision": "auto", "objective": {"name": "causal"},
        "model": {"family": "gpt", "hidden_size": 256, "num_layers": 4, "num_heads": 4, "dropout": 0.0},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.99]},
        "schedule": {"name": "cosine", "warmup_share": 0.05}, "clip": {"by": "norm", "limit": 1.0},
        "early_stopping": None,
    }  # fmt: skip


def seconds_of_threads() -> dict[int, float]:
    """Return the processor time of each thread of Python's beside the main one, which are none of a step's own."""
    import psutil

    beside = {thread.native_id for thread in threading.enumerate() if thread is not threading.main_thread()}
    return {one.id: one.user_time + one.system_time for one in psutil.Process().threads() if one.id in beside}


def observe(watch: Watch) -> None:
    """Have the loop add up the seconds that it spends on each of its parts; a bare one tells and keeps nothing."""
    from components.plumbing import progress
    from components.training import loop, phases, seats

    spent, has_terminal = watch.spent, progress.clears_lines

    @contextmanager
    def timed(name: str) -> Generator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            spent[name] += time.perf_counter() - began

    class Watched(loop.Course):
        def __post_init__(self) -> None:
            super().__post_init__()
            spent.clear()  # of what was tried before the training, to foretell its time
            validate = self.objective.validate
            self.objective = replace(self.objective, validate=lambda model: in_time("validation", validate, model))

        def go_to_next_look(self) -> None:
            before = seconds_of_threads()
            in_time("all", super().go_to_next_look)
            spent["beside"] += sum(now - before.get(name, 0.0) for name, now in seconds_of_threads().items())

        def look(self) -> None:
            in_time("all", super().look)

        def speak(self, seen: dict[str, float]) -> None:
            if not watch.is_bare:
                in_time("figures", super().speak, seen)

        def save(self) -> None:
            if not watch.is_bare:
                in_time("checkpoints", super().save)

    def in_time(name: str, act: Any, *given: Any) -> Any:
        with timed(name):
            return act(*given)

    loop.Course = Watched
    seats.phase = phases.phase = timed
    progress.clears_lines = lambda: has_terminal() and not watch.is_bare


if __name__ == "__main__":
    main()
