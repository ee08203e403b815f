"""The ways of fine-tuning side by side on movie_sentiment: accuracy, trained parameters, time and memory.

    python benchmarks/finetuning_ways.py [--epochs 1] [--steps N] [--project .]

Reads the recipe and its artifacts up to pretrain (`modelyard run movie_sentiment` makes them) and writes nothing there.
Each way runs in a process of its own, with the recipe's other settings but for the learning rate: fewer weights take
larger steps. The rates are the field's usual ones, not searched for. Where other work wants the processor, compare the
seconds of it that were used (cpu s, of all threads) rather than those that went by; --steps is enough for that.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from results import Row, Section, show, stop

RECIPE = "movie_sentiment"
MIB = 2**20


@dataclass(frozen=True)
class Trial:
    way: dict[str, Any]
    learning_rate: float


TRIALS = {
    "full": Trial({"name": "full", "freeze": []}, 1e-4),
    "full, embeddings frozen": Trial({"name": "full", "freeze": ["embeddings"]}, 1e-4),
    "last 2 layers": Trial({"name": "last", "num_layers": 2}, 3e-4),
    "LoRA, rank 8": Trial({"name": "lora", "rank": 8, "alpha": 16, "dropout": 0.05}, 1e-3),
    "head": Trial({"name": "head"}, 1e-2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of an epoch, drawn at random; all rows once where it is left out")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--only", choices=list(TRIALS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        measure(TRIALS[args.only], args.project, epochs=args.epochs, steps=args.steps)
        return
    if not (args.project / "artifacts" / RECIPE / "pretrain" / "model").is_dir():
        stop(f"artifacts/{RECIPE} is not there: 'modelyard run {RECIPE}' makes it, or --project names its project")
    section = Section("finetuning_ways")
    found = {name: in_own_process(name, sys.argv[1:]) for name in TRIALS}
    first, *others = found
    rows: list[Row] = []
    for name in others:
        one, full = found[name], found[first]
        rows.append(
            Row(
                f"{name}: processor time beside {first}",
                [one["cpu"] / full["cpu"]],
                as_text(one, is_whole=args.steps is None),
                as_text(full, is_whole=args.steps is None),
            )
        )
        mine, its = (figures["peak"] - figures["loaded"] for figures in (one, full))
        told = (f"{mine / MIB:.0f} MiB", f"{its / MIB:.0f} MiB")
        rows.append(Row(f"{name}: memory of training beside {first}", [mine / its], told[0], told[1]))
    show(rows)
    section.record(rows, notes=[f"{RECIPE}, epochs: {args.epochs}, steps of each: {args.steps or 'all rows once'}"])


def as_text(one: dict[str, float], *, is_whole: bool) -> str:
    """Tell what a way took; what it learnt only of whole epochs, since a few steps teach nothing."""
    text = f"{one['cpu']:.0f} s, {one['trained'] / one['parameters']:.2%} trained"
    return f"{text}, validation {one['validation']:.1%}, test {one['test']:.1%}" if is_whole else text


def in_own_process(name: str, arguments: list[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--only", name], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(trial: Trial, project: Path, *, epochs: int, steps: int | None) -> None:
    """Fine-tune, and print the figures as JSON. Memory is what the process held at most, and when it had loaded."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    from components.finetune import Inputs, Outputs
    from components.finetune.adapt import run
    from components.models import storage
    from components.models.facts import read_facts
    from components.objectives.classification import figures_of_classes as judge
    from components.objectives.classification import of_texts
    from components.params import Adapt
    from components.plumbing.artifacts import Layout
    from components.recipes import load_recipe
    from components.tracking.tracker import NullTracker
    from components.training.machine import start
    from components.training.objective import Data

    params = with_trial(
        load_recipe(project, RECIPE).finetune.model_dump(mode="json"), trial, epochs=epochs, steps=steps
    )
    section = Adapt.model_validate_json(json.dumps(params))
    layout = Layout(project, RECIPE, "finetune")
    inputs = layout.inputs(Inputs)
    machine = start(section, layout.checkpoints(""), stage="finetune")
    loaded = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        outputs = layout.outputs(Outputs, folder=Path(folder), fingerprint="")
        outputs = Outputs(outputs.model, outputs.control, outputs.history, Path(folder) / "checkpoints")
        started, started_cpu = time.monotonic(), time.process_time()
        report = run(section, inputs, outputs, tracker=NullTracker())
        seconds, cpu = time.monotonic() - started, time.process_time() - started_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        model = storage.load(outputs.model)
    test = layout.of("preprocess") / "test.parquet"
    task = of_texts(section, read_facts(inputs.predictor), Data(inputs.train, test, None, inputs.predictor))
    figures = judge(model, task, device=machine.device, precision="fp32")
    found = {
        "validation": report.validation_accuracy,
        "test": figures["validation_accuracy"],
        "trained": report.num_trained_parameters,
        "parameters": report.num_parameters,
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak,
        "loaded": loaded,
    }
    print(json.dumps(found))  # noqa: T201


def with_trial(params: dict[str, Any], trial: Trial, *, epochs: int, steps: int | None) -> dict[str, Any]:
    """The recipe's section with the trial's way and rate."""
    optimizer = params["optimizer"] | {"learning_rate": trial.learning_rate}
    length = {"epochs": epochs, "steps_per_epoch": steps}
    return params | {"way": trial.way, "control": False, "optimizer": optimizer} | length


if __name__ == "__main__":
    main()
