"""The flow `retrain`: refresh the source, the eight stages, the champion gate, promotion.

Nothing new in the source means that nothing else runs, and the run says so. One run of a recipe at a time: another
waits. What did not answer (MLflow, a registry of packages) is asked again for minutes; bad input and a failed gate
never. A run that outlives its limit is stopped with all that it started; the next one carries on where it was. After a
promotion the running service finds the new champion in `.modelyard/champions/<recipe>.json`.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.logging.handlers import APILogHandler

from components.monitoring.causes import comes_to_a_verdict
from components.plumbing.artifacts import REPORT, Layout, read_json
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import GateError, InputError, ModelyardError
from components.plumbing.locks import hold
from components.promotion.decide import Decision, State, promote_made
from components.recipes import load_recipe
from components.tracking.pipeline_run import PipelineRun
from components.tracking.store import Store, store_errors
from flows.pipeline.prefect_pages import tell_gate
from flows.pipeline.run import Outcome, check_prefect, prefect_errors, run_pipeline
from flows.pipeline.running import known_by_its_process, time_limit
from flows.pipeline.stage import StageOutcome
from flows.telling.alerts import alerting, tell_of_champion, tell_of_crash
from flows.upkeep.due import stand_for_overdue
from flows.upkeep.sweep import followed_by_sweep

logger = logging.getLogger(__name__)

RETRY_DELAYS_S = (5, 15, 45, 90, 180)
"""Seconds between the tries to reach what does not answer."""

T = TypeVar("T")


@dataclass(frozen=True)
class Retrained:
    """The result of a retraining."""

    recipe: str
    state: State | Literal["nothing new"]
    why: str
    version: int
    """The number of the present champion."""
    decision: Decision
    stages: list[StageOutcome]
    seconds: float
    parent_run_id: str
    """The id of the pipeline's run in MLflow."""


@flow(
    name="retrain",
    flow_run_name="{recipe}",
    persist_result=False,
    validate_parameters=False,
    on_crashed=[tell_of_crash],
)
def retrain(recipe: str, root: str = ".", cause: str = "schedule", limit_s: int | None = None) -> Retrained:
    """Train a recipe again where its source has something new, and promote what came of it if it is not worse."""
    folder = Path(root).resolve()
    prepare_environment(folder)
    os.chdir(folder)  # DVC keeps paths relative to where it was opened; the worker of a pool starts runs elsewhere
    settings = load_recipe(folder, recipe)
    if settings.promotion is None:
        raise InputError(
            f"recipes.{recipe} has no section 'promotion', which says what a challenger must hold to; add it (see "
            "docs/operating.md)"
        )
    scheduled_s = settings.schedule.limit_s if settings.schedule else None
    started = time.monotonic()
    stand_for_overdue(folder)
    with followed_by_sweep(folder, recipe, settings, cause=cause, limit_s=limit_s or scheduled_s):
        with (
            alerting(folder, recipe, where=f"modelyard retrain {recipe}", is_by_hand=cause == "by hand") as course,
            known_by_its_process(folder),
            hold(folder, f"{recipe}.retrain", doing=f"modelyard retrain {recipe} ({cause})", wait=True),
            comes_to_a_verdict(folder, recipe, cause=cause) as end,
            time_limit(limit_s or scheduled_s, recipe),
        ):
            outcome = patiently(lambda: refreshed(folder, recipe))
            course.run_id = outcome.parent_run_id
            decision = patiently(lambda: champion_gate(folder, recipe, outcome.parent_run_id, cause))
            done = summarised(outcome, decision, seconds=time.monotonic() - started)
            end.state, end.why = done.state, done.why
        figures, run_id = decision.figures, outcome.parent_run_id
        tell_of_champion(folder, recipe, decision.state, decision.why, decision.version, figures, run_id)
        get_run_logger().info("%s: %s (%s)", recipe, done.state, done.why)  # which Prefect's pages and a worker show
    return done


def run_retrain(
    root: Path, recipe: str, *, cause: str, limit_s: int | None, wait_for_prefect: Callable[[], None] = lambda: None
) -> Retrained:
    """Run the flow `retrain` here and now."""
    load_recipe(root, recipe)
    wait_for_prefect()
    check_prefect()
    try:
        with prefect_errors():
            return retrain(recipe, str(root), cause, limit_s)
    finally:
        APILogHandler().flush()


def refreshed(root: Path, recipe: str) -> Outcome:
    """Read the source again, and bring every stage up to date that then has something new to do."""
    with store_errors(root):
        return run_pipeline(root, recipe, refresh=True, force=(), until=None, wait=True)


@task(name="champion gate", task_run_name="champion gate", cache_policy=NO_CACHE, persist_result=False)
def champion_gate(root: Path, recipe: str, parent_run_id: str, cause: str) -> Decision:
    """Compare what the pipeline made with the champion, and let it take the champion's place;
    PromotionError where it is worse.

    The figures are noted on the pipeline's run in MLflow.
    """
    digest: str = read_json(Layout(root, recipe, "package").artifact / REPORT)["digest"]
    try:
        decision = promote_made(root, recipe, digest=digest, through=f"retrain, {cause}")
    except GateError as error:
        PipelineRun(Store(root, recipe), parent_run_id).note_gate(error.report, "refused")
        tell_gate(root, recipe, "promotion", error.report, str(error))
        raise
    if decision.figures:
        PipelineRun(Store(root, recipe), parent_run_id).note_gate(decision.figures, decision.state)
        tell_gate(root, recipe, "promotion", decision.figures, f"{decision.state}: {decision.why}")
    return decision


def summarised(outcome: Outcome, decision: Decision, *, seconds: float) -> Retrained:
    """Return the result of a run: nothing new where no stage behind the source ran, and nothing was left to decide."""
    ran = [stage.stage for stage in outcome.stages if stage.state == "ran"]
    first = outcome.stages[0].stage
    is_new = decision.state in ("promoted", "on trial") or any(name != first for name in ran)
    return Retrained(
        recipe=outcome.recipe,
        state=decision.state if is_new else "nothing new",
        why=decision.why if is_new else f"the source gave the rows that it gave before, so nothing ran; {decision.why}",
        version=decision.version,
        decision=decision,
        stages=outcome.stages,
        seconds=seconds,
        parent_run_id=outcome.parent_run_id,
    )


def patiently(call: Callable[[], T]) -> T:
    """Return the result of a call, tried again with growing pauses where something did not answer."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return call()
        except ModelyardError as error:
            if not error.is_transient:
                raise
            logger.warning("%s; trying again in %d s", error, delay_s)
            time.sleep(delay_s)
    return call()
