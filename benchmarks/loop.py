"""What the training loop costs beside the steps: data, figures, checkpoints and the tracker, as a share of a step.

    python benchmarks/loop.py [--steps 150] [--step-ms 200] [--rounds 3]

A GPT whose step takes about so long trains as a stage does: with its run in MLflow (SQLite, with the machine's load),
checkpoints, and the live line on a terminal. What is not forward, backward or optimizer, nor the look at the validation
split, is the loop's own. Beside it the same steps without tracker, checkpoints and terminal, in turns, since threads
beside the steps slow these instead. With so few steps each one is a point of the curves, which is the most there is.
And how long a checkpoint of a GPT of 100 M parameters, with its AdamW, keeps a training from its next step.
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
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from results import Row, Section, show

CONTEXT, VOCABULARY, BATCH = 128, 2000, 16
STEPS_TO_SIZE = 8
MOST, LONGEST_STALL_S = 0.03, 0.5
NUM_CHECKPOINTS = 3
COMPUTED = ("forward", "backward", "optimizer")
OWN = ("data", "figures", "checkpoints", "other")
TRIED = "points are gathered for seconds, and sent at checkpoints; see 'Points are sent together' in docs/decisions.md"

Figures = dict[str, float]
"""Milliseconds a step, by what they were spent on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--step-ms", type=float, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "bare", "stall"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=BATCH, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "stall":
        print(json.dumps(stalls(args.steps)))  # noqa: T201
        return
    if args.side:
        print(json.dumps(train_once(args.side, num_steps=args.steps, batch_size=args.batch)))  # noqa: T201
        return
    section = Section("loop")
    sized = in_own_process("bare", num_steps=STEPS_TO_SIZE, batch_size=BATCH)
    batch_size = max(1, round(BATCH * args.step_ms / step_ms(sized)))
    rounds: list[tuple[Figures, Figures]] = []
    for number in range(args.rounds):
        ours, bare = (in_own_process(side, num_steps=args.steps, batch_size=batch_size) for side in ("ours", "bare"))
        rounds.append((ours, bare))
        sys.stderr.write(f"round {number + 1}: {as_text(ours)}; bare {as_text(bare)}\n")
    rows = rows_of(rounds)
    seconds = list(in_own_process("stall", num_steps=NUM_CHECKPOINTS, batch_size=1).values())
    rows.append(Row(
        "seconds for which a checkpoint of 100 M parameters stalls the training", seconds, f"{median(seconds):.2f} s",
        unit="", at_most=LONGEST_STALL_S, tried="its state is copied, 1.2 GB, and written by a thread beside the steps",
    ))  # fmt: skip
    show(rows, title="the loop's own cost")
    section.record(
        rows, notes=[f"GPT of width 256, 4 layers, {batch_size} rows of {CONTEXT} tokens, {args.steps} steps"]
    )


def step_ms(found: Figures) -> float:
    return sum(found[name] for name in COMPUTED)


def as_text(found: Figures) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + " ms a step"


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
    slower = [step_ms(ours) / step_ms(bare) - 1 for ours, bare in rounds]
    alone = f"{median(step_ms(bare) for _, bare in rounds):.2f} ms without tracker, checkpoints, terminal"
    rows.append(Row("steps slower by what runs beside them", slower, steps, alone, "%"))
    return rows


def in_own_process(side: str, *, num_steps: int, batch_size: int) -> Figures:
    """Train in a process of its own; ours has a terminal."""
    words = ["--side", side, "--steps", str(num_steps), "--batch", str(batch_size)]
    with terminal() if side == "ours" else open(os.devnull, "wb") as screen:
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


def train_once(side: str, *, num_steps: int, batch_size: int) -> Figures:
    """Train, and return the milliseconds of a step by what they were spent on."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    from components.estimate.rows import Counts, write_predictor, write_rows
    from components.fitting import Training, fit
    from components.models.facts import Facts
    from components.models.storage import build
    from components.params import PretrainFromData
    from components.plumbing.logs import configure_logging
    from components.tracking.stage_run import stage_run
    from components.tracking.tracker import NullTracker

    section = PretrainFromData.model_validate(settings_of(num_steps, batch_size), strict=False)
    facts = Facts(vocab_size=VOCABULARY, context=CONTEXT)
    spent: dict[str, float] = defaultdict(float)
    watch(spent, is_bare=side == "bare")
    with tempfile.TemporaryDirectory(prefix="modelyard-loop-") as name, ExitStack() as stack:
        folder = Path(name)
        write_predictor(folder / "predictor", "text_generation", facts)
        counts = Counts(4 * batch_size + 2, 8, 0, CONTEXT)
        data = write_rows(folder / "rows", facts, counts, predictor=folder / "predictor")
        checkpoints = folder / "checkpoints"
        tracker: Any = NullTracker()
        if side == "ours":
            configure_logging()
            tracker = stack.enter_context(stage_run(folder, "loop", "pretrain", unfinished=checkpoints / "run.json"))
            tracker.log_start(section.model_dump(mode="json"), {})
        network = partial(build, section.model, facts)
        work = Training(section, facts, data, network, "pretrain", "pretrain gpt", checkpoints)
        fit(work, tracker=tracker)
    known = sum(spent[one] for one in (*COMPUTED, "data", "figures", "checkpoints", "validation"))
    spent["other"] = spent["all"] - known
    return {one: 1000 * spent[one] / num_steps for one in (*COMPUTED, *OWN)}


def stalls(number: int) -> Figures:
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
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="modelyard-loop-") as name, Saver(Path(name), keep=1) as saver:
        saver.make_room(model=model, optimizers=[optimizer])
        for step in range(number):
            saver.wait()
            began = time.perf_counter()
            saver.save(Position(step=step), model=model, optimizers=[optimizer])
            found[str(step)] = time.perf_counter() - began
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


def watch(spent: dict[str, float], *, is_bare: bool) -> None:
    """Have the loop add up the seconds that it spends on each of its parts; a bare one tells and keeps nothing."""
    from components.training import loop, phases, seats

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
            in_time("all", super().go_to_next_look)

        def look(self) -> None:
            in_time("all", super().look)

        def speak(self, seen: dict[str, float]) -> None:
            if not is_bare:
                in_time("figures", super().speak, seen)

        def save(self) -> None:
            if not is_bare:
                in_time("checkpoints", super().save)

    def in_time(name: str, act: Any, *given: Any) -> Any:
        with timed(name):
            return act(*given)

    loop.Course = Watched
    seats.phase = phases.phase = timed


if __name__ == "__main__":
    main()
