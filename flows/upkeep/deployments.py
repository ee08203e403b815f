"""The schedules of params.yaml as Prefect deployments: served here by one worker, or put on a work pool of your own."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.plumbing.errors import InputError
from components.recipes import PARAMS
from flows.upkeep.planned import DESCRIPTIONS, TAG, deployment_name, own_deployments, scheduled
from flows.upkeep.times import when

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

logger = logging.getLogger(__name__)


def deployments_of(root: Path, *, pool: str | None = None, without: Collection[str] = ()) -> list["RunnerDeployment"]:
    """Return one deployment for each schedule, of the flow `retrain`, `monitor` or `sweep`; the recipes
    of `without` are left out."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from flows.upkeep.monitor import monitor
    from flows.upkeep.retrain import retrain
    from flows.upkeep.sweep import sweep

    run = {"retrain": retrain, "monitor": monitor, "sweep": sweep}
    # A second look at the same traffic is no use, and a second sweep would find the first at it; a second retraining
    # waits, and then finds what is new.
    strategy = dict.fromkeys(run, ConcurrencyLimitStrategy.CANCEL_NEW) | {"retrain": ConcurrencyLimitStrategy.ENQUEUE}
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


def deploy_schedules(root: Path, *, pool: str) -> dict[str, Any]:
    """Put the deployments on a work pool of the user's Prefect server, whose workers then run them, and remove those
    that params.yaml no longer has."""
    from flows.pipeline.run import check_prefect

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
    """Put deployments on a work pool; return their ids, InputError where the server has no such pool."""
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
    """Remove from Prefect's server the deployments that this project once put there, for this pool (None: for its own
    worker), and that are neither among these nor of a spared recipe; return their names. The server would go on
    scheduling runs that nobody takes."""
    from prefect.client.orchestration import get_client

    kept = {(one.entrypoint, one.name) for one in deployments}
    with get_client(sync_client=True) as client:
        others = [
            one
            for one in own_deployments(client, root, pool=pool)
            if (one.entrypoint, one.name) not in kept and one.parameters.get("recipe") not in spared
        ]
        for one in others:
            client.delete_deployment(one.id)
    names = [f"{(one.entrypoint or '').rpartition('.')[2]}/{one.name}" for one in others]
    if names:
        logger.warning("removed from Prefect's server, since %s has no schedule for it: %s", PARAMS, ", ".join(names))
    return names
