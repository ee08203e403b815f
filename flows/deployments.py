"""The schedules of params.yaml as Prefect deployments: served here by one worker, or put on a work pool of your own."""

import logging
import os
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import InputError, ParamsError, StoreError
from components.locks import hold
from components.params import RunSchedule
from components.processes import identity
from components.recipes import PARAMS, load_recipe, load_yaml
from flows.running import WORKER_VARIABLE, mark_killed
from flows.servers import until_interrupted

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    """What is done again and again for one recipe."""

    flow: Literal["retrain", "monitor"]
    recipe: str
    schedule: RunSchedule


TAG = "modelyard"
"""Of every deployment of ours."""
DESCRIPTIONS = {
    "retrain": "Train {recipe} again, and promote what is not worse.",
    "monitor": "Compare what {recipe} is asked with what it was made from, and train it again on drift.",
}


def faulty_recipes(root: Path) -> dict[str, ParamsError]:
    """The recipes that cannot be read, and why."""
    found: dict[str, ParamsError] = {}
    for name in load_yaml(root / PARAMS)["recipes"]:
        try:
            load_recipe(root, name)
        except ParamsError as error:
            found[name] = error
    return found


def scheduled(root: Path, *, without: Collection[str] = ()) -> list[Due]:
    """Every schedule of params.yaml, but those of some recipes. ParamsError where another has faults."""
    found: list[Due] = []
    for name in load_yaml(root / PARAMS)["recipes"]:
        if name in without:
            continue
        recipe = load_recipe(root, name)
        if recipe.schedule is not None:
            found.append(Due("retrain", name, recipe.schedule))
        if recipe.monitoring is not None and recipe.monitoring.schedule is not None:
            found.append(Due("monitor", name, recipe.monitoring.schedule))
    return found


def deployments_of(root: Path, *, pool: str | None = None, without: Collection[str] = ()) -> list["RunnerDeployment"]:
    """One deployment for each schedule, of the flow `retrain` or `monitor`, but for those of some recipes."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from flows.monitor import monitor
    from flows.retrain import retrain

    run = {"retrain": retrain, "monitor": monitor}
    # A second look at the same traffic is no use; a second retraining waits, and then finds what is new.
    strategy = {"retrain": ConcurrencyLimitStrategy.ENQUEUE, "monitor": ConcurrencyLimitStrategy.CANCEL_NEW}
    return [
        RunnerDeployment.from_flow(
            run[due.flow],
            name=deployment_name(due.recipe, pool=pool),
            schedule=when(due),
            parameters={"recipe": due.recipe, "root": str(root)},
            description=DESCRIPTIONS[due.flow].format(recipe=due.recipe),
            tags=[TAG, due.recipe],
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy[due.flow]),
            work_pool_name=pool,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for due in scheduled(root, without=without)
    ]


def deployment_name(recipe: str, *, pool: str | None) -> str:
    """As it is called beside its flow: `retrain/movie_sentiment`."""
    return recipe if pool is None else f"{recipe}-{pool}"


def when(due: Due) -> "Schedule":
    """A schedule in Prefect's terms; ParamsError where it cannot read cron."""
    from prefect.schedules import Cron, Interval

    schedule = due.schedule
    if schedule.interval_s is not None:
        return Interval(timedelta(seconds=schedule.interval_s), timezone=schedule.timezone)
    assert schedule.cron is not None
    try:
        return Cron(schedule.cron, timezone=schedule.timezone)
    except ValueError as error:
        section = "schedule" if due.flow == "retrain" else "monitoring.schedule"
        raise ParamsError(
            f"recipes.{due.recipe}.{section}.cron is '{schedule.cron}', which is no cron expression ({error}); for "
            "example '0 3 * * 1-5'"
        ) from error


def serve_schedules(root: Path) -> None:
    """Run what is due, when it is due, until Ctrl-C or SIGTERM. BusyError where this project has a worker already.

    The schedules of a recipe with faults wait until it is mended and the worker started again.
    """
    with hold(root, "worker.process", doing="modelyard worker", wait=False), for_runs(root):
        from prefect import serve

        from flows.pipeline import check_prefect

        faulty = faulty_recipes(root)
        for error in faulty.values():
            logger.error("%s", error)
        deployments = deployments_of(root, without=faulty)
        if not deployments:
            logger.info("no recipe of %s has a 'schedule': there is nothing to run", PARAMS)
            if os.environ.get("PREFECT_API_URL"):
                with suppress(StoreError):
                    check_prefect()
                    remove_others(root, deployments, pool=None, spared=faulty)
            with until_interrupted():
                threading.Event().wait()
            return
        check_prefect()
        mark_killed(root, [deployment.name for deployment in deployments])
        remove_others(root, deployments, pool=None, spared=faulty)
        for due in scheduled(root, without=faulty):
            logger.info("%s %s: %s", due.flow, due.recipe, described(due.schedule))
        serve(*deployments, pause_on_shutdown=False, print_starting_message=False)


@contextmanager
def for_runs(root: Path) -> Generator[None]:
    """What the runs of a worker inherit: that they end with it, where they work, and that they say what they do.

    To be entered before Prefect is imported.
    """
    before, folder = dict(os.environ), Path.cwd()
    os.environ |= {WORKER_VARIABLE: identity(), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def described(schedule: RunSchedule) -> str:
    """When, in words."""
    often = f"every {schedule.interval_s:,} s" if schedule.cron is None else f"'{schedule.cron}' in {schedule.timezone}"
    return f"{often}, at most {schedule.limit_s:,} s"


def deploy_schedules(root: Path, *, pool: str) -> dict[str, Any]:
    """Put the deployments on a work pool of the user's Prefect server, whose workers then run them, and take from it
    those that params.yaml has no more."""
    from flows.pipeline import check_prefect

    deployments = deployments_of(root, pool=pool)
    check_prefect()
    ids = put_on_pool(deployments, pool=pool) if deployments else []
    removed = remove_others(root, deployments, pool=pool)
    if not deployments and not removed:
        raise InputError(
            f"no recipe of {PARAMS} has a 'schedule'; add one, for example: "
            'schedule: {cron: "0 3 * * *", timezone: UTC, limit_s: 7200}'
        )
    return {
        "pool": pool,
        "deployments": [
            {"name": f"{one.flow_name}/{one.name}", "id": str(number), "recipe": one.parameters["recipe"]}
            for one, number in zip(deployments, ids, strict=True)
        ],
        "removed": removed,
    }


def put_on_pool(deployments: list["RunnerDeployment"], *, pool: str) -> list[Any]:
    """Gives their ids; InputError where the server has no such pool."""
    from prefect import deploy

    try:
        ids: Any = deploy(
            *deployments,
            work_pool_name=pool,
            build=False,
            push=False,
            print_next_steps_message=False,
            ignore_warnings=True,
        )
    except ValueError as error:
        raise InputError(
            f"{str(error).rstrip('.')}; 'prefect work-pool create {pool} --type process' makes one"
        ) from error
    return ids


def remove_others(
    root: Path, deployments: list["RunnerDeployment"], *, pool: str | None, spared: Collection[str] = ()
) -> list[str]:
    """Take from Prefect's server what this project once put there, for this pool (None: for its own worker), and is not
    among these deployments, nor of a recipe that is spared; gives their names. The server would go on scheduling runs
    that nobody takes."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    kept = {(one.entrypoint, one.name) for one in deployments}
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found: list[Any] = []
    with get_client(sync_client=True) as client:
        while page := client.read_deployments(deployment_filter=ours, offset=len(found)):
            found += page
        others = [
            one
            for one in found
            if is_own(one, root, pool=pool)
            and (one.entrypoint, one.name) not in kept
            and one.parameters.get("recipe") not in spared
        ]
        for one in others:
            client.delete_deployment(one.id)
    names = [f"{one.entrypoint.rpartition('.')[2]}/{one.name}" for one in others]
    if names:
        logger.warning("removed from Prefect's server, since %s has no schedule for it: %s", PARAMS, ", ".join(names))
    return names


def is_own(deployment: "DeploymentResponse", root: Path, *, pool: str | None) -> bool:
    """Whether it is one that `deployments_of` this project made, then or now."""
    given = deployment.parameters
    return (
        given.get("root") == str(root)
        and deployment.work_pool_name == pool
        and deployment.name == deployment_name(given.get("recipe", ""), pool=pool)
        and deployment.entrypoint in {f"flows.{flow}.{flow}" for flow in DESCRIPTIONS}
    )
