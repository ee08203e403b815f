"""The work of one trial: the stages that its settings change, on the rest as it was when the sweep began.

A trial has a folder of its own. What it does not change are links to the present artifacts, or to what an earlier trial
made of the same settings and inputs.
"""

import csv
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.params import Recipe
from components.plumbing.artifacts import (
    REPORT,
    Layout,
    fault_of_files,
    figures_of,
    read_json,
    replacing_folder,
    write_json,
    writing,
)
from components.plumbing.errors import ArtifactError, GateError, InputError
from components.recipes import section_of, stages
from components.stages import STAGES, fingerprint_in
from components.tracking.tracker import NullTracker, Tracker
from flows.sweep.trials.trial import PRESENT, Trial

CURVE = "curve.json"
HISTORY = "history.csv"
EXAMINED = "evaluate"


@dataclass(frozen=True)
class TrialLayout(Layout):
    """The folders of a trial; what is relative to the project is so in a trial, too."""

    folder: Path

    @property
    def observations(self) -> Path:
        return self.folder / "observations" / self.stage

    def of(self, stage: str) -> Path:
        return self.folder / "artifacts" / stage

    def checkpoints(self, fingerprint: str) -> Path:
        return self.folder / "checkpoints" / self.stage / fingerprint


@dataclass(frozen=True)
class StudyFolders:
    """The folders of a study."""

    root: Path
    recipe: str
    folder: Path
    """The folder of the study."""

    @property
    def present(self) -> Path:
        """The artifacts of the present settings, by stage."""
        return self.folder / "present"

    def trial(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def layout(self, number: int, stage: str) -> TrialLayout:
        return TrialLayout(self.root, self.recipe, stage, self.trial(number))

    def made(self, stage: str, fingerprint: str) -> Path:
        return self.folder / "made" / stage / fingerprint


class Pruned(Exception):
    """The end of a trial that was worse than most at the same epoch; its words say so."""


class Looks(NullTracker):
    """A tracker that keeps the objective after each look at the validation split; it raises Pruned where that is worse
    than it must be by then."""

    def __init__(
        self, file: Path, objective: str, *, minimizes: bool, rungs: Sequence[tuple[float, float]] = ()
    ) -> None:
        self.file, self.objective, self.sign, self.rungs = file, objective, 1 if minimizes else -1, rungs
        self.curve: dict[float, float] = {}
        if file.is_file():  # of before a kill: the training goes on where it was
            self.curve = {float(epoch): value for epoch, value in read_json(file)}

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        del step
        if "epoch" not in values or self.objective not in values:
            return
        epoch, value = float(values["epoch"]), float(values[self.objective])
        if value != value or value in (float("inf"), float("-inf")):
            return
        self.curve[epoch] = value
        write_json(self.file, sorted(self.curve.items()), durable=False)
        for first, limit in self.rungs:
            reached = [at for at in self.curve if at >= first]
            if reached and min(reached) == epoch:
                best = min(self.sign * one for at, one in self.curve.items() if at <= epoch)
                if best > self.sign * limit:
                    raise Pruned(
                        f"after epoch {epoch:g} its best {self.objective} was {self.sign * best:.4g}; "
                        f"the better ones had {limit:.4g}"
                    )


def link_present(folders: StudyFolders, number: int) -> None:
    """Give a trial links to all present artifacts, but for what it has made already."""
    folder = folders.trial(number) / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    for one in sorted(folders.present.iterdir()):
        if not (folder / one.name).exists():
            (folder / one.name).symlink_to(os.path.relpath(one, folder))


def run_trial(
    folders: StudyFolders, number: int, recipe: Recipe, *, present: Recipe, judged: str, looks: Tracker
) -> dict[str, Any]:
    """Run what the trial changes, as far as the judged stage; return that stage's report."""
    link_present(folders, number)
    is_changed = False
    for stage in stages()[: stages().index(judged) + 1]:
        is_changed = is_changed or section_of(recipe, stage) != section_of(present, stage)
        if not is_changed and stage != judged:
            continue
        layout = folders.layout(number, stage)
        make(folders, layout, recipe, tracker=looks if stage == judged else NullTracker(), shared=stage != judged)
        if stage == "preprocess":
            check_rows(layout, folders)
    report: dict[str, Any] = read_json(folders.layout(number, judged).artifact / REPORT)
    return report


def make(folders: StudyFolders, layout: TrialLayout, recipe: Recipe, *, tracker: Tracker, shared: bool) -> None:
    """Run a stage of a trial, or link what another trial made of the same."""
    fingerprint = fingerprint_in(layout, recipe)
    made = folders.made(layout.stage, fingerprint)
    if layout.artifact.is_symlink():
        layout.artifact.unlink()
    if not (shared and made.is_dir()):
        if layout.artifact.is_dir():  # whole, from before a kill
            return
        work, section = STAGES[layout.stage](recipe), section_of(recipe, layout.stage)
        inputs = layout.inputs(work.Inputs)
        layout.renew_observations()
        with writing(layout.artifact) as folder:
            outputs = layout.outputs(work.Outputs, folder=folder, fingerprint=fingerprint)
            write_json(folder / REPORT, figures_of(work.run(section, inputs, outputs, tracker=tracker)))
        layout.drop_checkpoints()
    if shared:
        if not made.is_dir():
            made.parent.mkdir(parents=True, exist_ok=True)
            try:
                layout.artifact.rename(made)
            except OSError:  # another worker was first
                shutil.rmtree(layout.artifact)
        elif layout.artifact.is_dir():
            shutil.rmtree(layout.artifact)
        layout.artifact.symlink_to(os.path.relpath(made, layout.artifact.parent))


def check_rows(layout: Layout, folders: StudyFolders) -> None:
    """Raise InputError where a trial would be judged on other rows than the present settings, or compared with them on
    others at the end."""
    for split in ("validation", "test"):
        ours, theirs = (
            pq.read_table(folder / f"{split}.parquet", columns=["row"])["row"].to_pylist()
            for folder in (layout.artifact, folders.present / "preprocess")
        )
        if ours == theirs:
            continue
        raise InputError(
            f"its {split} split has other rows ({len(ours):,} beside {len(theirs):,}), so its figures cannot be "
            "compared with those of the others"
        )


def examine(folders: StudyFolders, number: int, recipe: Recipe, *, judged: str) -> Path:
    """Evaluate a trial on the test split, in a folder of its own; return evaluate's folder `results/`.

    A quality gate that it does not pass is no matter here, and only what is compared is measured.
    """
    recipe = measured_plainly(recipe)
    link_present(folders, number)
    order = stages()
    for stage in order[order.index(judged) + 1 : order.index(EXAMINED) + 1]:
        layout = folders.layout(number, stage)
        shutil.rmtree(layout.artifact, ignore_errors=True)
        try:
            make(folders, layout, recipe, tracker=NullTracker(), shared=False)
        except GateError:
            return layout.observations / "results"
    return folders.layout(number, EXAMINED).artifact / "results"


def measured_plainly(recipe: Recipe) -> Recipe:
    """Return the recipe without what its section evaluate asks for beside the figures, such as explanations."""
    fields = type(recipe.evaluate).model_fields
    optional = {name: None for name, field in fields.items() if not field.is_required() and field.default is None}
    return replace(recipe, evaluate=recipe.evaluate.model_copy(update=optional))


def curve_of(folder: Path, objective: str) -> tuple[tuple[float, float], ...]:
    """Return the objective after each look of a training, by epoch, from its history."""
    if not (folder / HISTORY).is_file():
        return ()
    with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple((float(row["epoch"]), float(row[objective])) for row in rows if row.get(objective))


def snapshot(folders: StudyFolders, judged: str) -> None:
    """Keep the present artifacts as they are now, whatever becomes of them during the sweep.

    They take no room where the file system has hard links. What was damaged since then is kept anew.
    """
    if folders.present.is_dir() and not any(fault_of_files(folder) for folder in folders.present.iterdir()):
        return
    with replacing_folder(folders.present) as partial:
        for stage in stages()[: stages().index(judged) + 1]:
            source = Layout(folders.root, folders.recipe, stage).artifact
            if not source.is_dir():
                raise ArtifactError(f"{source} is missing; 'modelyard run {folders.recipe} --until {judged}' makes it")
            shutil.copytree(source, partial / stage, copy_function=link_or_copy)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def seconds_since(start: float) -> float:
    return round(time.monotonic() - start, 2)


def drop_models(folders: StudyFolders, trials: Iterable[Trial], *, kept: Iterable[Trial]) -> None:
    """Remove what the trials trained, but for some: a later best is trained again by `modelyard run`."""
    spared = {PRESENT, *(trial.number for trial in kept)}
    for trial in trials:
        if trial.number not in spared:
            shutil.rmtree(folders.trial(trial.number) / "artifacts", ignore_errors=True)
            shutil.rmtree(folders.trial(trial.number) / "checkpoints", ignore_errors=True)
