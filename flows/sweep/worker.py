"""A process that runs trials, one after the other, as the sweep names them: `python -m flows.sweep.worker ROOT FOLDER`.

It reads a number a line on standard input and writes the same number on standard output once the trial has ended. It
loads torch once, and ends with the sweep.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import read_json
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import ModelyardError
from components.plumbing.locks import hold
from components.plumbing.logs import configure_logging
from components.plumbing.stopping import Stopping
from components.recipes import parse_recipe
from flows.sweep.trials import Trial, read_trial, write_trial
from flows.sweep.work import CURVE, Looks, Places, Pruned, run_trial, seconds_since

SPEC = "trial.json"
"""The file with all that a trial is, which the sweep writes before it names it."""


def main() -> None:
    root, folder = Path(sys.argv[1]), Path(sys.argv[2])
    os.chdir(root)
    prepare_environment(root)
    configure_logging()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    stopping = Stopping()
    try:
        with stopping.work():
            for line in sys.stdin:
                number = int(line)
                spec = read_json(folder / "trials" / f"{number:04d}" / SPEC)
                places = Places(root, spec["recipe"], folder)
                # One of a sweep that was killed may be at it for a moment yet.
                with hold(root, f"{spec['recipe']}.sweep.{number}", doing="a trial of a sweep", wait=True):
                    write_trial(places.trial(number), outcome(places, number, spec))
                answers.write(json.dumps(number) + "\n")
                answers.flush()
    except KeyboardInterrupt:
        sys.exit(130)


def outcome(places: Places, number: int, spec: dict[str, Any]) -> Trial:
    """Run a trial, and say how it ended."""
    start, folder = time.monotonic(), places.trial(number)
    ended = read_trial(folder)
    if ended is not None:
        return ended
    objective = spec["objective"]
    looks = Looks(folder / CURVE, objective, minimizes=spec["minimizes"], rungs=spec["rungs"])
    trial = Trial(number, spec["settings"], "failed")
    try:
        report = run_trial(
            places, number, parse_recipe(spec["recipe"], spec["changed"]),
            present=parse_recipe(spec["recipe"], spec["present"]), judged=spec["judged"], looks=looks,
        )  # fmt: skip
        figures = {name: float(value) for name, value in report.items() if name.startswith("validation_")}
        value = figures[objective]
        if value != value or abs(value) == float("inf"):
            trial = replace(trial, reason=f"its {objective} is no finite number")
        else:
            trial = replace(trial, state="done", value=value, figures=figures)
    except Pruned as pruned:
        best = (min if spec["minimizes"] else max)(looks.curve.values())
        trial = replace(trial, state="pruned", value=best, reason=str(pruned))
    except (ModelyardError, MemoryError) as error:
        trial = replace(trial, reason=str(error) or "out of memory")
    except Exception as error:  # whatever a value does to a library, the sweep goes on
        traceback.print_exc()
        trial = replace(trial, reason=f"{type(error).__name__}: {error}"[:500])
    return replace(trial, curve=tuple(sorted(looks.curve.items())), seconds=seconds_since(start))


if __name__ == "__main__":
    main()
