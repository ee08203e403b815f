"""The flow: every stage of one recipe, in the order of dvc.yaml."""

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from prefect import flow
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from components.champion import note_champion
from components.plumbing.environment import do_without_prefect
from components.plumbing.errors import StoreError
from components.plumbing.finished import drop_all_finished
from components.plumbing.last_good import bring_back
from components.plumbing.locks import hold
from components.plumbing.processes import DRIVER_VARIABLE, identity
from components.recipes import load_recipe
from components.tracking.pipeline_run import PipelineRun
from components.tracking.registry import CHAMPION
from components.tracking.stage_run import PIPELINE_VARIABLE
from components.tracking.store import Store, import_mlflow
from flows.pipeline.graph import check_reached, check_stage, open_repo, read_graph
from flows.pipeline.leftovers import clear_leftovers
from flows.pipeline.prefect_pages import tell_mlflow
from flows.pipeline.running import known_by_its_process
from flows.pipeline.stage import StageOutcome, changed_stages, run_stage
from flows.telling.alerts import tell_of_champion

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a pipeline run."""

    recipe: str
    stages: list[StageOutcome]
    seconds: float
    parent_run_id: str
    """The id of the pipeline's run in MLflow."""


@flow(name="pipeline", flow_run_name="{recipe}", persist_result=False, validate_parameters=False)
def pipeline(
    root: Path, recipe: str, *, refresh: bool, force: tuple[str, ...], until: str | None, store: Future[Store]
) -> list[StageOutcome]:
    """Bring every stage of a recipe up to date, or those as far as `until`."""
    opened = store.result()  # a store that cannot be reached stops the flow before any work
    tell_mlflow(PipelineRun.of(opened, os.environ[PIPELINE_VARIABLE]))
    note_champion(opened)
    outcomes: list[StageOutcome] = []
    stages = read_graph(open_repo(root), recipe)
    changed = changed_stages(root, stages)
    with known_by_its_process(root):
        for stage in stages:
            is_source = not stage.upstream
            is_changed = stage.address in changed or any(one.state == "ran" or one.is_restored for one in outcomes)
            is_forced = stage.name in force or (refresh and is_source)
            outcomes.append(run_stage(root, stage, is_changed=is_changed, force=is_forced))
            if stage.name == until:
                break
    return outcomes


def run_pipeline(
    root: Path,
    recipe: str,
    *,
    refresh: bool,
    force: tuple[str, ...],
    until: str | None,
    wait: bool,
    wait_for_prefect: Callable[[], None] = lambda: None,
) -> Outcome:
    """Check what can be checked before any work, run the flow, and link what was unchanged to the runs that made it.

    `refresh` runs the stages that read a source even if nothing here changed; `force` names stages that run in any
    case; with `wait`, another run of the recipe is waited for, and BusyError raised without; `wait_for_prefect` returns
    once a server that is starting answers.
    """
    root = root.resolve()
    load_recipe(root, recipe)
    with chdir(root):  # DVC keeps paths relative to where it was opened
        stages = read_graph(open_repo(root), recipe)
    for name in (*force, *([until] if until else [])):
        check_stage(name, stages)
    check_reached(force, until, stages)
    started = time.monotonic()
    pipeline_name = f"flow {uuid.uuid4()}"
    with (
        ThreadPoolExecutor(1) as pool,
        hold(root, recipe, doing=f"modelyard run {recipe}", wait=wait),
        in_project(root, pipeline_name),
    ):
        opening = open_meanwhile(pool, root, recipe)
        wait_for_prefect()
        check_prefect()
        clear_leftovers(root)
        try:
            # Prefect's heartbeat thread sleeps whole seconds, and the flow would wait for it at its end.
            with prefect_errors(), temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                outcomes = pipeline(root, recipe, refresh=refresh, force=force, until=until, store=opening)
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            bring_back(root, [recipe])  # where its stage could not do so itself
            error.run_id = close_parent(opening, pipeline_name, status)  # pyright: ignore[reportAttributeAccessIssue]
            raise
        finally:
            drop_all_finished(root)
            APILogHandler().flush()  # while the server is still there
    parent = PipelineRun.of(opening.result(), pipeline_name)
    parent.link_cached([outcome.stage for outcome in outcomes])
    parent.end("FINISHED")
    parent.summarise()
    made_by = parent.made_by()
    outcome = Outcome(
        recipe=recipe,
        stages=[replace(outcome, run_id=made_by.get(outcome.stage)) for outcome in outcomes],
        seconds=time.monotonic() - started,
        parent_run_id=parent.run_id,
    )
    tell_of_first(root, recipe, parent.store, outcome)
    return outcome


def open_meanwhile(pool: ThreadPoolExecutor, root: Path, recipe: str) -> Future[Store]:
    """Open MLflow's store, which may take seconds, while Prefect takes its own.

    MLflow is imported before. Both import FastAPI, and where two threads do so at once, each from another of its
    modules, Python lets one of the two fail rather than wait for ever: `KeyError: 'fastapi'`.
    """
    import_mlflow(root)
    return pool.submit(Store, root, recipe)


def close_parent(opening: Future[Store], pipeline_name: str, status: str) -> str:
    """End the parent run of a pipeline that stopped, though its stage may never have come to say so; return its id, or
    an empty string where MLflow does not answer."""
    if not opening.done() or opening.exception() is not None:
        return ""
    parent = PipelineRun.of(opening.result(), pipeline_name)
    parent.end(status)
    return parent.run_id


def tell_of_first(root: Path, recipe: str, store: Store, outcome: Outcome) -> None:
    """Tell of a champion that `package` made by registering the first version."""
    made = next((stage.run_id for stage in outcome.stages if stage.stage == "package" and stage.state == "ran"), None)
    try:
        champion = store.registry.at(CHAMPION) if made else None
    except Exception as error:  # the run is over, and stays as good as it was
        logger.warning("nobody was told whether %s has a champion: %s", recipe, type(error).__name__)
        return
    if champion is not None and champion.run_id == made:
        why = "the first that was registered"
        tell_of_champion(root, recipe, "promoted", why, champion.number, {}, outcome.parent_run_id)


def check_prefect() -> None:
    """Raise StoreError where the user's Prefect server does not answer. Without one, Prefect starts its own."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise StoreError(f"the Prefect server {url} cannot be reached ({error}); {do_without_prefect()}") from error


@contextmanager
def prefect_errors() -> Generator[None]:
    """Raise StoreError where Prefect's server was waited for in vain (PREFECT_CLIENT_MAX_RETRIES) during the block."""
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except httpx.HTTPError as error:
        if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
            raise
        server = PREFECT_API_URL.value() or "of this run"
        raise StoreError(
            f"the Prefect server {server} went away during the run ({error}); the stages that ran are kept: run it "
            "again"
        ) from error


@contextmanager
def in_project(root: Path, pipeline_name: str) -> Generator[None]:
    """Work in the project's folder, and end on SIGTERM as on Ctrl-C. The stages are told the pipeline's name, and which
    process drives them, so that none outlives it."""
    given = {PIPELINE_VARIABLE: pipeline_name, DRIVER_VARIABLE: identity()}
    before, folder = {name: os.environ.get(name) for name in given}, Path.cwd()
    os.environ |= given
    os.chdir(root)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.chdir(folder)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
