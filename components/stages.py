"""The stages by name: what each reads and writes, and how it is run on a recipe. Each is imported only when asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.params import Recipe
from components.tasks import task_of
from components.tracking import Tracker

Run = Callable[[Recipe, Any, Any, Tracker], Any]
"""Runs a stage on a recipe, its inputs and its outputs; gives the report, a dataclass."""


@dataclass(frozen=True)
class Stage:
    """One stage of the DAG, whose code is the package of its name."""

    Inputs: type[Any]
    Outputs: type[Any]
    run: Run


def _ingest() -> Stage:
    from components.ingest import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.ingest, inputs, outputs, tracker=tracker)

    return Stage(Inputs, Outputs, work)


def _validate() -> Stage:
    from components.validate import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.validate, inputs, outputs, tracker=tracker)

    return Stage(Inputs, Outputs, work)


def _preprocess() -> Stage:
    from components.preprocess import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.preprocess, inputs, outputs, tracker=tracker, prepare=task_of(recipe.task).preprocess)

    return Stage(Inputs, Outputs, work)


def _pretrain() -> Stage:
    from components.pretrain import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.pretrain, inputs, outputs, tracker=tracker)

    return Stage(Inputs, Outputs, work)


def _finetune() -> Stage:
    from components.finetune import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.finetune, inputs, outputs, tracker=tracker)

    return Stage(Inputs, Outputs, work)


def _evaluate() -> Stage:
    from components.evaluate import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.evaluate, inputs, outputs, tracker=tracker, measure=task_of(recipe.task).evaluate)

    return Stage(Inputs, Outputs, work)


def _compress() -> Stage:
    from components.compress import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        task = task_of(recipe.task)
        return run(recipe.compress, inputs, outputs, tracker=tracker, make_trial=task.compress, drop=task.drop)

    return Stage(Inputs, Outputs, work)


def _package() -> Stage:
    from components.package import Inputs, Outputs, run

    def work(recipe: Recipe, inputs: Inputs, outputs: Outputs, tracker: Tracker) -> Any:
        return run(recipe.package, inputs, outputs, tracker=tracker, drop=task_of(recipe.task).drop)

    return Stage(Inputs, Outputs, work)


STAGES: dict[str, Callable[[], Stage]] = {
    "ingest": _ingest,
    "validate": _validate,
    "preprocess": _preprocess,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "compress": _compress,
    "package": _package,
}
