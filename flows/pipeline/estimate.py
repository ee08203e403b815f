"""estimate: the memory and time of a recipe's trainings, or of a model of any size; as plain data and as tables."""

import hashlib
import json
import math
import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.plumbing.artifacts import Layout, digest_of, read_json, write_json
from components.plumbing.errors import ArtifactError, InputError
from components.recipes import stages
from flows.telling.output import Data, plain_table

if TYPE_CHECKING:
    from components.estimate.recipe import Estimate
    from components.estimate.scaling import Question, ScalingAnswer
    from components.params import Recipe

COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
BYTES = {"": 1.0, "b": 1.0, **{f"{p}b": 1e3**n for n, p in enumerate("kmgt", 1)},
         **{f"{p}ib": 1024.0**n for n, p in enumerate("kmgt", 1)}}  # fmt: skip
QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def quantity(text: str, option: str, units: dict[str, float], example: str) -> float:
    """Read a positive number, with a unit or without; InputError that names the option where it is none."""
    found = QUANTITY.fullmatch(text)
    scale = units.get(found[2].lower()) if found else None
    value = float(found[1]) * scale if found and scale else 0.0
    if not 0 < value < float("inf"):
        known = ", ".join(unit for unit in units if unit)
        raise InputError(f"{option} is '{text}'; it takes a number above 0, such as {example} (units: {known})")
    return value


def question_of(options: dict[str, Any]) -> "Question":
    """Return the question about a model of any size that the command's options ask;
    InputError where one is no number."""
    from components.estimate.scaling import Question

    for name in ("utilisation", "days"):
        if not math.isfinite(options[name]):
            raise InputError(f"--{name} is '{options[name]}'; it takes a number above 0")
    tokens: str | None = options["tokens"]
    return Question(
        num_parameters=quantity(options["params"], "--params", COUNTS, "7e9 or 7B"),
        num_tokens=None if tokens is None else quantity(tokens, "--tokens", COUNTS, "1.4e11 or 140B"),
        device_memory_bytes=quantity(options["device_memory"], "--device-memory", BYTES, "80GiB"),
        device_flops=quantity(options["device_flops"], "--device-flops", COUNTS, "400e12 or 400T"),
        utilisation=options["utilisation"],
        precision=options["precision"],
        optimizer=options["optimizer"],
        days=options["days"],
        context=options["context"],
    )


# ---------------------------------------------------------------- of a recipe


KEPT = ".modelyard/estimates"


def recipe_estimate(root: Path, name: str) -> Data:
    """Tell what a run of a recipe will take: what was told last, where nothing changed that it hangs on, so that all
    commands name one figure."""
    from components.recipes import load_recipe

    recipe = load_recipe(root, name)
    if kept := kept_estimate(root, name, recipe):
        return kept
    found = measured_estimate(root, name, recipe)
    keep_estimate(root, name, recipe, found)
    return estimate_summary(found)


def measured_estimate(root: Path, name: str, recipe: "Recipe") -> "Estimate":
    """Estimate what a run of a recipe will take, by a measurement of seconds."""
    from components.estimate.recipe import estimate_recipe  # takes seconds, after what may be wrong with the recipe

    return estimate_recipe(root, name, recipe)


FORM = 3
"""The number of the form of what is kept of an estimate; it grows with each figure that is told."""


def kept_estimate(root: Path, name: str, recipe: "Recipe") -> Data | None:
    """Return what was told last of a run of a recipe; None where something has changed since that it hangs on."""
    path = root / KEPT / f"{name}.json"
    if not path.is_file():
        return None
    with suppress(ArtifactError, KeyError, TypeError):
        left = read_json(path)
        if left["of"] == state_of(root, name, recipe):
            return left["told"]
    return None


def keep_estimate(root: Path, name: str, recipe: "Recipe", found: "Estimate") -> None:
    path = root / KEPT / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"of": state_of(root, name, recipe), "told": estimate_summary(found)})


def state_of(root: Path, name: str, recipe: "Recipe") -> str:
    """Return a digest of what an estimate hangs on: the settings, the source, what preprocess left, and the machine."""
    source: Any = recipe.ingest.source
    path = root / Path(getattr(source, "path", "")).expanduser()
    seen = path.stat() if getattr(source, "path", None) and path.exists() else None
    told = {
        "form": FORM,
        "settings": {section: getattr(recipe, section).model_dump(mode="json") for section in stages()},
        "source": [seen.st_size, seen.st_mtime_ns] if seen else None,
        "preprocess": digest_of(Layout(root, name, "preprocess").artifact),
        "machine": [platform.node(), os.cpu_count(), os.environ.get("OMP_NUM_THREADS")],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def estimate_summary(found: "Estimate") -> Data:
    return asdict(found) | {"fits": found.fits}


def foretold_line(root: Path, name: str) -> str | None:
    """Return in words what a whole run takes, where that was told before and still holds; None elsewhere."""
    from components.recipes import load_recipe

    kept = kept_estimate(root, name, load_recipe(root, name))
    if kept is None:
        return None
    return f"a whole run takes about {duration(kept['seconds'])} here, with nothing else to do"


def estimate_tables(data: Data, console: Console) -> None:
    """Print the parts, memory and time of each training, then what was assumed."""
    for training in data["trainings"]:
        parts_table(training, console)
        memory_table(training, data, console)
        work_table(training, console)
    table = plain_table("a whole run", "")
    for stage in stages():
        table.add_row(stage, duration(data["stages"][stage]))
    table.add_row("in all", f"about {duration(data['seconds'])}", style="bold")
    console.print(table)
    console.print()
    assumed(data["assumptions"], console)
    if not data["fits"]:
        console.print(f"It does not fit: only {size(data['available_bytes'])} are free.", style="red", soft_wrap=True)


def parts_table(training: Data, console: Console) -> None:
    table = plain_table("parameters", "", "")
    total = training["num_parameters"]
    for part, number in training["parameters"].items():
        table.add_row(part, f"{number:,}", f"{number / total:.1%}")
    table.add_row("in all", f"{total:,}", "")
    if training["num_trained"] != total:
        table.add_row("trained", f"{training['num_trained']:,}", f"{training['num_trained'] / total:.1%}")
    console.print(f"{training['title']}: {training['family']}", style="bold")
    console.print(table)
    console.print()


def memory_table(training: Data, data: Data, console: Console) -> None:
    table = plain_table("memory", "")
    memory = training["memory"]
    for name in ("weights", "gradients", "optimizer", "activations"):
        table.add_row("optimizer state" if name == "optimizer" else name, size(memory[name]))
    table.add_row("worst moment of a step", size(memory["peak"]))
    table.add_row("the process, with its libraries", size(training["process_bytes"]))
    table.add_row("copies of checkpoints, if free twice", size(training["copies_bytes"]))
    table.add_row(
        "free on this machine" if data["device"] == "cpu" else "free on the device", size(data["available_bytes"])
    )
    console.print(table)
    console.print()


def work_table(training: Data, console: Console) -> None:
    table = plain_table("work", "")
    parts = f" in parts of {training['micro_batch_size']}" if training["micro_batch_size"] else ""
    table.add_row(
        "steps",
        f"{training['num_steps']:,} in {training['num_epochs']} epochs, batches of {training['batch_size']}{parts}",
    )
    table.add_row("operations a step", f"{training['flops_a_step']:.3g}")
    table.add_row("operations in all", f"{training['flops']:.3g}")
    rate = f"{training['flops_per_s'] / 1e9:,.0f} GFLOP/s in the step's own products, {training['precision']}"
    table.add_row("measured here", rate)
    table.add_row("time of a step", duration(training["step_s"]))
    tokens = "" if training["tokens_per_s"] is None else f", {rate_of(training['tokens_per_s'])} tokens/s"
    table.add_row("rate", f"{rate_of(training['rows_per_s'])} rows/s{tokens}")
    table.add_row("time in all", duration(training["seconds"]))
    console.print(table)
    console.print()


# ---------------------------------------------------------------- of any size


def answer_summary(question: "Question", answer: "ScalingAnswer") -> Data:
    return {"question": asdict(question), **asdict(answer)}


def answer_tables(data: Data, console: Console) -> None:
    """Print what the model takes, the devices that each way of dividing it needs, and what was assumed."""
    table = plain_table("", "")
    table.show_header = False
    table.add_row("parameters", f"{data['num_parameters']:.3g}")
    table.add_row("tokens", f"{data['num_tokens']:.3g}")
    table.add_row("operations", f"{data['flops']:.3g}")
    for name in ("weight", "gradient", "optimizer", "activation"):
        label = {"optimizer": "optimizer state", "activation": "activations of a device"}.get(name, f"{name}s")
        table.add_row(label, size(data[f"{name}_bytes"]))
    table.add_row("one device alone", f"{duration(data['one_device_days'] * 86_400)}, if it had the memory")
    console.print(table)
    console.print()
    asked = data["question"]
    ways = plain_table("way", "a device holds", "devices to hold it", f"devices for {asked['days']:g} days", "time")
    for way in data["ways"]:
        holds = f"{size(way['bytes_a_device'])} of {size(asked['device_memory_bytes'])}"
        if way["num_for_memory"] is None:
            ways.add_row(way["name"], holds, "does not fit, on any number", "", "")
        else:
            time = duration(way["days"] * 86_400)
            ways.add_row(way["name"], holds, f"{way['num_for_memory']:,}", f"{way['num_devices']:,}", time)
    console.print(ways)
    console.print()
    assumed(data["assumptions"], console)


def assumed(assumptions: list[str], console: Console) -> None:
    for assumption in assumptions:
        console.print(f"Assumed: {assumption}.", style="dim", markup=False, soft_wrap=True)


def size(num_bytes: float) -> str:
    """Write a number of bytes with a unit and 3 or 4 digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.4g} TB"


def rate_of(number: float) -> str:
    """Write a number a second with 3 digits, or all digits of a larger one."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Write a time with a unit and 3 or 4 digits."""
    for limit, unit, length in ((1, "ms", 1e-3), (120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86_400:,.4g} days"
