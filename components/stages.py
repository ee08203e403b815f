"""The stages by name: what each reads and writes, and how it is run on a recipe. Each is
imported only when it is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from components.params import Recipe
from components.params.recipe import NO_CHAMPION
from components.plumbing.artifacts import Layout, fingerprint_of
from components.recipes import section_of
from components.tasks import task_of
from components.tracking.registry import noted_weights
from components.tracking.tracker import Tracker

if TYPE_CHECKING:
    from components.fitting import Training


class Run(Protocol):
    """A function that runs a stage of a recipe on its inputs and outputs, and returns the report, a dataclass; `params`
    is the stage's section of the recipe."""

    def __call__(self, params: Any, inputs: Any, outputs: Any, /, *, tracker: Tracker) -> Any: ...


class Begin(Protocol):
    """A function that tells the trainings of a stage, which would read `inputs` and write `outputs`; `params` is the
    stage's section of the recipe."""

    def __call__(self, params: Any, inputs: Any, outputs: Any, /, *, tracker: Tracker) -> "Sequence[Training]": ...


@dataclass(frozen=True)
class Stage:
    """One stage of the DAG, as recipes of one kind run it. Its code is the package of its name."""

    Inputs: type[Any]
    Outputs: type[Any]
    run: Run
    trainings: Begin | None = None
    """The trainings that the stage is made of, in their order, before anything of them is made; None of a stage that
    trains nothing."""


def _ingest(recipe: Recipe) -> Stage:
    del recipe
    from components.ingest import Inputs, Outputs, run

    return Stage(Inputs, Outputs, run)


def _validate(recipe: Recipe) -> Stage:
    del recipe
    from components.validate import Inputs, Outputs, run

    return Stage(Inputs, Outputs, run)


def _preprocess(recipe: Recipe) -> Stage:
    from components.preprocess import Inputs, Outputs, run

    return Stage(Inputs, Outputs, partial(run, prepare=task_of(recipe.task).preprocess))


def _pretrain(recipe: Recipe) -> Stage:
    from components.pretrain import MODES, Inputs, Outputs

    mode = MODES[recipe.pretrain.mode]()
    return Stage(Inputs, Outputs, mode.run, mode.trainings)


def _finetune(recipe: Recipe) -> Stage:
    from components.finetune import MODES, Inputs, Outputs

    mode = MODES[recipe.finetune.mode]()
    return Stage(Inputs, Outputs, mode.run, mode.trainings)


def _evaluate(recipe: Recipe) -> Stage:
    from components.evaluate import Inputs, Outputs, run

    return Stage(Inputs, Outputs, partial(run, measure=task_of(recipe.task).evaluate))


def _compress(recipe: Recipe) -> Stage:
    from components.compress import Inputs, Outputs, run

    task = task_of(recipe.task)
    return Stage(Inputs, Outputs, partial(run, make_trial=task.compress, drop=task.drop))


def _package(recipe: Recipe) -> Stage:
    from components.package import Inputs, Outputs, run

    return Stage(Inputs, Outputs, partial(run, drop=task_of(recipe.task).drop))


STAGES: dict[str, Callable[[Recipe], Stage]] = {
    "ingest": _ingest,
    "validate": _validate,
    "preprocess": _preprocess,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "compress": _compress,
    "package": _package,
}


def fingerprint_in(layout: Layout, settings: Recipe) -> str:
    """Return the name of the exact work that a stage has to do now, by its section and the bytes that it reads."""
    read = layout.input_digests(STAGES[layout.stage](settings).Inputs)
    if settings.champion != NO_CHAMPION:
        read["champion"] = noted_weights(layout.root, layout.recipe) or ""
    return fingerprint_of(section_of(settings, layout.stage).model_dump(mode="json"), read)
