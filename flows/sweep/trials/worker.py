"""A process that runs trials, one after the other, as the sweep names them.

`python -m flows.sweep.trials.worker ROOT FOLDER` starts one. It reads the number of a trial a line on standard input,
and answers two lines: that it has begun, and, once the trial has ended, nothing or why the sweep cannot go on. It loads
torch once, and ends with the sweep.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from components.params.sweep import SIZE
from components.plumbing.artifacts import disk_full, is_of_full_disk, read_json
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import ArtifactError, ModelyardError
from components.plumbing.locks import hold
from components.plumbing.logs import configure_logging
from components.plumbing.stopping import Stopping
from components.recipes import parse_recipe
from flows.sweep.trials.served import export_served
from flows.sweep.trials.trial import Trial, figures_on_validation, read_trial, write_trial
from flows.sweep.trials.work import CURVE, Looks, Pruned, StudyFolders, run_trial, seconds_since

BEGUN = "begun"
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
                tell(answers, BEGUN)
                spec = read_json(folder / "trials" / f"{number:04d}" / SPEC)
                folders = StudyFolders(root, spec["recipe"], folder)
                # One of a sweep that was killed may be at it for a moment yet.
                with hold(root, f"{spec['recipe']}.sweep.{number}", doing="a trial of a sweep", wait=True):
                    try:
                        write_trial(folders.trial(number), outcome(folders, number, spec))
                    except ModelyardError as error:
                        tell(answers, str(error))
                        continue
                tell(answers, "")
    except KeyboardInterrupt:
        sys.exit(130)


def tell(answers: TextIO, words: str) -> None:
    answers.write(json.dumps(words) + "\n")
    answers.flush()


def is_of_the_machine(error: BaseException) -> bool:
    """Return whether an error says nothing of the trial's settings: another try may give the trial."""
    return is_of_full_disk(error) or isinstance(error, ArtifactError) or getattr(error, "is_transient", False)


def outcome(folders: StudyFolders, number: int, spec: dict[str, Any]) -> Trial:
    """Run a trial, and say how it ended; raise the error that is not the trial's own."""
    start, folder = time.monotonic(), folders.trial(number)
    ended = read_trial(folder)
    if ended is not None:
        return ended
    looks = Looks(folder / CURVE, spec["followed"], minimizes=spec["minimizes"], rungs=spec["rungs"])
    trial = Trial(number, spec["settings"], "failed")
    try:
        recipe = parse_recipe(spec["recipe"], spec["changed"])
        report = run_trial(
            folders, number, recipe, present=parse_recipe(spec["recipe"], spec["present"]), judged=spec["judged"],
            looks=looks,
        )  # fmt: skip
        figures = figures_on_validation(report)
        if spec["is_exported"]:
            figures[SIZE] = export_served(folders, number, recipe, judged=spec["judged"])
        missing = [name for name in spec["measured"] if name not in figures]
        if not missing:
            trial = replace(trial, state="done", value=figures.get(spec["objective"]), figures=figures)
        else:
            trial = replace(trial, reason=f"its {missing[0]} is no finite number")
    except Pruned as pruned:
        best = (min if spec["minimizes"] else max)(looks.curve.values())
        trial = replace(trial, state="pruned", value=best, reason=str(pruned))
    except Exception as error:  # whatever a value does to a library, the sweep goes on
        if is_of_the_machine(error):
            said = disk_full(f"of {folders.folder}") if is_of_full_disk(error) else error
            told = str(said).rpartition("; ")[0] or str(said)  # the advice is for a run of the stage
            raise ModelyardError(f"trial {number}: {told}; mend that, and run the same command again") from error
        if not isinstance(error, ModelyardError | MemoryError):
            traceback.print_exc()
        name = "" if isinstance(error, ModelyardError) else f"{type(error).__name__}: "
        trial = replace(trial, reason=f"{name}{error}"[:500])
    return replace(trial, curve=tuple(sorted(looks.curve.items())), seconds=seconds_since(start))


if __name__ == "__main__":
    main()
