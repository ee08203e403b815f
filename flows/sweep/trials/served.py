"""The measurement of a trial as it would be served: the bytes of its int8 model, and its speed beside that of the
present settings.

The model is exported as compress exports its candidate `int8`, with the predictor of serving/ around it. Speeds are
taken by the sweep's own process while no trial runs, one item a call and one thread, in turns with the model of the
present settings. They are told in steps of 5 %, so that noise seldom changes what the sampler sees.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from components.compress.measure import NUM_ROUNDS, NUM_WARM_UP, measure_rates
from components.compress.methods import METHODS
from components.compress.paths import Inputs
from components.compress.trial import CompressionTrial
from components.params import Recipe
from components.params.sweep import SPEEDUP
from components.plumbing.artifacts import replacing_folder
from components.tasks import task_of
from flows.sweep.trials.trial import PRESENT, Trial, write_trial
from flows.sweep.trials.work import StudyFolders

SERVED = "served"
STEP = 1.05
ROUND_S, TURNS = 0.04, 5
"""About as many seconds has each of a model's rounds, and so many times as many rounds there are as compress has: what
else the machine does for a moment then falls into few of them."""


def compression_trial(folders: StudyFolders, number: int, recipe: Recipe, *, judged: str) -> CompressionTrial[Any]:
    """Return how a trial's model is exported and asked. It is given the validation split for the test split, too."""
    of = artifact_of(folders, number)
    validation = of("preprocess") / "validation.parquet"
    return task_of(recipe.task).compress(Inputs(
        train=of("preprocess") / "train.parquet", unlabelled=of("preprocess") / "unlabelled.parquet",
        validation=validation, test=validation, predictor=of("preprocess") / "predictor", model=of(judged) / "model",
        float_results=of("evaluate") / "results",
    ))  # fmt: skip


def artifact_of(folders: StudyFolders, number: int) -> Callable[[str], Path]:
    if number == PRESENT:
        return lambda stage: folders.present / stage
    return lambda stage: folders.layout(number, stage).artifact


def export_served(folders: StudyFolders, number: int, recipe: Recipe, *, judged: str) -> float:
    """Write what would be served of a trial into its folder `served/`; return the bytes of its graphs."""
    trial = compression_trial(folders, number, recipe, judged=judged)
    with replacing_folder(folders.trial(number) / SERVED) as partial:
        shutil.copytree(artifact_of(folders, number)("preprocess") / "predictor", partial, dirs_exist_ok=True)
        graphs = trial.export()
        for name, graph in graphs.items():
            METHODS["int8"](graph, None, partial / name, None)
        return float(sum((partial / name).stat().st_size for name in graphs))


def drop_served(folders: StudyFolders, numbers: Iterable[int]) -> None:
    for number in numbers:
        shutil.rmtree(folders.trial(number) / SERVED, ignore_errors=True)


class SpeedTest:
    """Times what would be served of trials beside what would be served of the present settings."""

    def __init__(self, folders: StudyFolders, recipe: Recipe, *, judged: str) -> None:
        self.folders = folders
        self.trial = compression_trial(folders, PRESENT, recipe, judged=judged)
        if not (folders.trial(PRESENT) / SERVED).is_dir():
            export_served(folders, PRESENT, recipe, judged=judged)
        self.present = self.load(PRESENT)
        self.rate = f"{self.trial.unit}_per_s"
        self.present_rate = math.nan

    def load(self, number: int) -> Any:
        return self.trial.load(self.folders.trial(number) / SERVED, threads=1)

    def one_by_one(self, runner: Any, items: Sequence[Any]) -> int:
        return sum(self.trial.work(runner, [item]) for item in items)

    def counted(self, runner: Any, items: Sequence[Any]) -> int:
        self.one_by_one(runner, items)
        return len(items)

    def rates(self, runners: dict[str, Any]) -> dict[str, list[float]]:
        """Return the units per second of each runner in each of some rounds, in turns."""
        few = list(islice(cycle(self.trial.items), NUM_WARM_UP))
        for runner in runners.values():
            self.one_by_one(runner, few)
        items_per_s = np.median(measure_rates({"present": self.present}, few, self.counted)["present"])
        num_items = math.ceil(ROUND_S * float(items_per_s)) * NUM_ROUNDS
        items = list(islice(cycle(self.trial.items), num_items))
        turns = [measure_rates(runners, items, self.one_by_one) for _ in range(TURNS)]
        return {name: [rate for turn in turns for rate in turn[name]] for name in runners}

    def time_present(self, trial: Trial) -> Trial:
        """Return the present settings' trial with its speed, noted."""
        if self.rate not in trial.figures:
            units_per_s = float(np.median(self.rates({"present": self.present})["present"]))
            trial = replace(trial, figures={**trial.figures, self.rate: float(f"{units_per_s:.4g}"), SPEEDUP: 1.0})
            write_trial(self.folders.trial(PRESENT), trial)
        self.present_rate = trial.figures[self.rate]
        return trial

    def time(self, trial: Trial, *, first_objective: str) -> Trial:
        """Return a finished trial with its speed, noted so that it is not timed again; as failed where its model does
        not answer. Any other trial, and one that was timed, is returned as it is."""
        if trial.state != "done" or self.rate in trial.figures:
            return trial
        try:
            rates = self.rates({"trial": self.load(trial.number), "present": self.present})
            speedup = coarse(float(np.median(np.divide(rates["trial"], rates["present"]))))
            figures = {**trial.figures, SPEEDUP: speedup, self.rate: float(f"{self.present_rate * speedup:.4g}")}
            trial = replace(trial, figures=figures, value=figures.get(first_objective))
        except Exception as error:  # whatever a graph does to the runtime, the sweep goes on
            reason = f"its served model could not be timed: {type(error).__name__}: {error}"
            trial = replace(trial, state="failed", value=None, reason=reason[:500])
        write_trial(self.folders.trial(trial.number), trial)
        return trial


def coarse(ratio: float) -> float:
    """Return a ratio rounded to a power of STEP."""
    return float(f"{STEP ** round(math.log(ratio, STEP)):.4g}")
