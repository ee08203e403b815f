"""Memory and rows per second of training, by batch, length and the settings that take the same steps in less memory.

    python benchmarks/memory.py [--steps 3] [--picture docs/memory.png] [--rows 8 16 32 64] [--lengths 64 128 256]

Each training is one of the project's own loop on made-up rows, in a process of its own, fp32, without dropout. Memory
is the most that the process held (VmHWM), with its libraries and its look at the validation split; `of training` is
what it held beyond the libraries and the model. Where other work wants the processor, compare memory alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from results import Row, Section, show

MB = 1e6
STATUS = Path("/proc/self/status")
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt": {
        "task": "text_generation",
        "model": {"family": "gpt", "hidden_size": 256, "num_layers": 4, "num_heads": 4, "dropout": 0.0},
        "objective": {"name": "causal"},
    },
    "encoder": {
        "task": "text_classification",
        "model": {
            "family": "encoder", "hidden_size": 256, "num_layers": 4, "num_heads": 4, "intermediate_size": 1024,
            "dropout": 0.0,
        },
        "objective": {"name": "masked", "share": 0.15, "mean_span": 2.0},
    },
}  # fmt: skip
VOCABULARY = 1000
TIMES = 8
MOST, MOST_APART = 1.2, 1e-5
TRIED = "the memory that glibc keeps, and the output layer of a whole batch, stay; see docs/decisions.md"


@dataclass(frozen=True)
class Trial:
    """One training."""

    family: str
    length: int
    rows: int
    """The rows of a batch."""
    parts: int | None = None
    """The rows of a part of it, `micro_batch_size`."""
    recomputes: bool = False
    """`activation_checkpointing`"""


@dataclass(frozen=True)
class Figures:
    """What was measured of a training."""

    peak: int
    """The most bytes that the process held."""
    training: int
    """The bytes of these beyond the libraries and the model."""
    rows_per_s: float
    loss: float
    """The mean loss of its steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="of each training, after a first one")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument(
        "--picture",
        type=Path,
        help="where to draw memory and rows/s of gpt against batch and length as well",
    )
    parser.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(asdict(measure(Trial(**args.only), steps=args.steps))))  # noqa: T201
        return
    section = Section("memory")
    rows = beside_each_other(steps=args.steps)
    show(rows, title=f"memory of training, {TIMES} times the batch")
    section.record(rows, notes=["fp32, no dropout, 4 layers of width 256, 128 tokens a row; a process each"])
    if args.picture:
        draw(args.picture, rows=args.rows, lengths=args.lengths, steps=args.steps)


def beside_each_other(*, steps: int) -> list[Row]:
    """Measure a batch, and one of eight times as many rows with each of the settings."""
    found: list[Row] = []
    for family, rows in {"gpt": 8, "encoder": 16}.items():
        small = Trial(family, 128, rows)
        large = replace(small, rows=TIMES * rows)
        ways = {
            "as it is": large,
            "micro_batch_size": replace(large, parts=rows),
            "activation_checkpointing": replace(large, recomputes=True),
            "both": replace(large, parts=rows, recomputes=True),
        }
        first = in_own_process(small, steps=steps)
        figures = {name: in_own_process(trial, steps=steps) for name, trial in ways.items()}
        for name, one in figures.items():
            found.append(Row(
                f"{family}, {TIMES * rows} rows beside {rows}, {name}", [one.peak / first.peak], told(one), told(first),
                at_most=MOST if name in ("micro_batch_size", "both") else None, tried=TRIED,
            ))  # fmt: skip
        losses = [one.loss for one in figures.values()]
        found.append(Row(
            f"{family}: losses of these four, apart", [(max(losses) - min(losses)) / max(losses)],
            f"{min(losses):.6f}", f"{max(losses):.6f}", "", at_most=MOST_APART, tried=TRIED,
        ))  # fmt: skip
    return found


def told(one: Figures) -> str:
    return f"{one.peak / MB:.0f} MB, of training {one.training / MB:.0f}; {one.rows_per_s:.1f} rows/s"


@cache
def in_own_process(trial: Trial, *, steps: int) -> Figures:
    command = [sys.executable, __file__, "--steps", str(steps), "--only", json.dumps(asdict(trial))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def measure(trial: Trial, *, steps: int) -> Figures:
    """Train for a few steps and a look at the validation split."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    import torch

    from components.estimate.rows import Counts, write_predictor, write_rows
    from components.models.facts import Facts
    from components.models.storage import build
    from components.objectives import OBJECTIVES, objective_of
    from components.params import PretrainFromData
    from components.tracking.tracker import NullTracker
    from components.training.loop import train
    from components.training.optimizers import build_optimizer
    from components.training.plan import plan_of
    from components.training.recomputing import recompute_activations

    settings = FAMILIES[trial.family]
    params = PretrainFromData.model_validate(settings_of(trial, steps=steps + 1), strict=False)
    labels = 2 if settings["task"] == "text_classification" else 0
    facts = Facts(num_labels=labels, vocab_size=VOCABULARY, context=trial.length)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    model = build(params.model, facts)
    loaded = held("VmRSS")
    if trial.recomputes:
        recompute_activations(model, stage="pretrain")
    with tempfile.TemporaryDirectory() as folder:
        write_predictor(Path(folder) / "predictor", settings["task"], facts)
        counts = Counts(2 * trial.rows + 2, 16, 0, trial.length)
        data = write_rows(Path(folder) / "rows", facts, counts, predictor=Path(folder) / "predictor")
        objective = OBJECTIVES[objective_of(params)]()(
            params, model=model, facts=facts, data=data, tracker=NullTracker(), device=torch.device("cpu"),
            precision="fp32",
        )  # fmt: skip
        drawn: list[float] = []

        def batches(epoch: int, start: int) -> Iterator[Any]:
            yield from noted(objective.batches(epoch, start), drawn)

        optimizers = [build_optimizer(params.optimizer_of(one.name), one.parameters) for one in objective.players]
        position = train(
            objective.model or model, plan_of(params, objective, "fp32"), replace(objective, batches=batches),
            optimizers, checkpoints=Path(folder) / "checkpoints", tracker=NullTracker(), title="memory",
        )  # fmt: skip
    peak = held("VmHWM")
    rate = trial.rows * steps / (drawn[-1] - drawn[1])
    return Figures(peak, peak - loaded, rate, position.history[-1]["train_loss"])


def settings_of(trial: Trial, *, steps: int) -> dict[str, Any]:
    settings = FAMILIES[trial.family]
    return {
        "mode": "train", "source": None, "seed": 0, "epochs": 1, "steps_per_epoch": steps, "batch_size": trial.rows,
        "micro_batch_size": trial.parts, "activation_checkpointing": trial.recomputes, "precision": "fp32",
        "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.99]},
        "schedule": {"name": "constant", "warmup_share": 0.0}, "clip": {"by": "norm", "limit": 1.0},
        "early_stopping": None, "model": settings["model"], "objective": settings["objective"],
    }  # fmt: skip


def noted(batches: Iterable[Any], drawn: list[float]) -> Iterator[Any]:
    """Yield the batches, and note when each is asked for, and when there is none left."""
    for batch in batches:
        drawn.append(time.perf_counter())
        yield batch
    drawn.append(time.perf_counter())


def held(name: str) -> int:
    """Return the bytes that the kernel counts of this process, now (VmRSS) or at most (VmHWM)."""
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def draw(path: Path, *, rows: list[int], lengths: list[int], steps: int) -> None:
    """Draw memory and rows/s of the language model: above against the batch, below against the length."""
    from matplotlib.figure import Figure
    from PIL import Image

    from components.plumbing.plots import save, style

    ways = {
        "as it is": {},
        "micro_batch_size: 8": {"parts": 8},
        "activation_checkpointing": {"recomputes": True},
        "both": {"parts": 8, "recomputes": True},
    }
    with style():
        figure = Figure(figsize=(9, 6), layout="constrained")
        axes = figure.subplots(2, 2)
        lines = {
            "rows of a batch (128 tokens)": [(n, Trial("gpt", 128, n)) for n in rows],
            "tokens of a row (batches of 32)": [(n, Trial("gpt", n, 32)) for n in lengths],
        }
        for line, (title, trials) in zip(axes, lines.items(), strict=True):
            for name, changed in ways.items():
                found = [in_own_process(replace(trial, **changed), steps=steps) for _, trial in trials]
                where = [at for at, _ in trials]
                line[0].plot(where, [one.peak / MB for one in found], marker="o", label=name)
                line[1].plot(where, [one.rows_per_s for one in found], marker="o", label=name)
            for axis, label in zip(line, ("peak memory of the process, MB", "rows/s"), strict=True):
                axis.set(xlabel=title, ylabel=label, ylim=(0, None))
                axis.set_xscale("log", base=2)
                axis.set_xticks([at for at, _ in trials], [str(at) for at, _ in trials])
        axes[0][0].legend()
        save(figure, path)
    with Image.open(path) as picture:  # few colours: a third of the bytes
        few = picture.convert("RGB").quantize(64)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
