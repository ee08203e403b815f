"""sweep: the search over a recipe's settings by the clock, or after a drift.

What it finds is told through `notify:`, with the command that applies it; nothing but that command writes into
params.yaml. A sweep that is under way is not started twice, and one that is stopped by its limit is carried on by the
next.
"""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from prefect import State, flow, get_run_logger
from prefect.states import Completed

from components.params import Recipe
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import ArtifactError, BusyError, GateError, ModelyardError
from components.recipes import load_recipe
from flows.pipeline.prefect_pages import tell_pages
from flows.pipeline.running import known_by_its_process, time_limit
from flows.sweep.search import Found, search
from flows.telling.alerts import TOLD, alerting, tell_of_crash, tell_of_settings
from flows.upkeep.due import stand_for_overdue

logger = logging.getLogger(__name__)

NAME = "sweep"


@flow(name=NAME, flow_run_name="{recipe}", persist_result=False, validate_parameters=False, on_crashed=[tell_of_crash])
def sweep(recipe: str, root: str = ".", limit_s: int | None = None) -> State[None]:
    """Carry on the sweep of a recipe, or begin it, and tell what it found.

    It ends as completed, with what was found as the state's message. `limit_s` holds where the sweep has no schedule.
    """
    folder = Path(root).resolve()
    prepare_environment(folder)
    os.chdir(folder)  # as retrain does
    params = load_recipe(folder, recipe).sweep
    if params is not None and params.schedule is not None:
        limit_s = params.schedule.limit_s or limit_s
    stand_for_overdue(folder)
    with alerting(folder, recipe, where=f"modelyard sweep {recipe}"), known_by_its_process(folder):
        try:
            with time_limit(limit_s, recipe):
                found = search(folder, recipe)
                found.check()
        except BusyError as error:
            return Completed(name="Under way", message=str(error))
    tell_pages(folder, recipe, NAME, found.words)
    get_run_logger().info("%s: %s", recipe, found.words)  # which Prefect's pages and a worker show
    if not found.changes or found.verdict.get("gain_high", 0.0) < 0:  # surely worse on the test split
        return Completed(name="Nothing better", message=found.words)
    tell_once(folder, found)
    return Completed(name="Better settings", message=found.words)


def tell_once(root: Path, found: Found) -> None:
    """Tell of better settings, once for a trial of a study."""
    assert found.best is not None
    recipe, note = found.plan.name, root / TOLD / f"{found.plan.name}.sweep.json"
    seen = {"study": found.folders.folder.name, "trial": found.best.number}
    try:
        if read_json(note) == seen:
            return
    except ArtifactError:  # nothing was told yet
        note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, seen)
    tell_of_settings(root, recipe, found.words, found.changes, found.run_id)


@contextmanager
def followed_by_sweep(root: Path, recipe: str, settings: Recipe, *, cause: str, limit_s: int | None) -> Generator[None]:
    """Search better settings once the block, a retraining for drift, has come to a verdict, where the recipe asks for
    that. How the sweep ends changes nothing of how the block did."""
    refused: ModelyardError | None = None
    try:
        yield
    except ModelyardError as error:
        if error.exit_code != GateError.exit_code:  # it was cut off, and starts again
            raise
        refused = error
    if cause == "drift" and settings.monitoring is not None and settings.monitoring.retrain == NAME:
        try:
            sweep(recipe, str(root), limit_s)
        except Exception as error:  # which is told already
            logger.warning("the sweep of %s after drift ended: %s", recipe, error)
    if refused is not None:
        raise refused
