"""The coming, overdue and missed runs of the schedules: whether one is coming, one for all that are overdue, and one
for a time that Prefect's server wrote no run for.

Prefect's server writes the coming runs of a deployment ahead, about once a minute; a worker, or the worker of a pool,
takes them when they are due. What fell due while nobody took it stays there as `Late`, and what was held up by another
run as `AwaitingConcurrencySlot`.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from components.plumbing.environment import prefect_server
from flows.upkeep.planned import own_deployments, readable
from flows.upkeep.times import Due, times_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger(__name__)

WRITTEN_WITHIN = timedelta(seconds=100)
"""The time within which Prefect's server has written the runs of a new deployment ahead,
which it does once a minute."""
PAGE = 200
SKIPPED = "Skipped"
"""The name that Prefect's pages show for a run whose place another took."""


@dataclass(frozen=True)
class Coming:
    """The next run of a schedule."""

    due: Due
    at: datetime | None
    """The time of the run, in UTC; None where none is coming."""
    fault: str
    """The reason why no run is coming, and what mends it; empty where one is, or where the user paused the schedule."""

    def __str__(self) -> str:
        return f"{self.due} at {self.at:%Y-%m-%d %H:%M} UTC" if self.at else f"{self.due}: {self.fault or 'paused'}"


def coming_runs(root: Path) -> list[Coming]:
    """Ask Prefect's server for the next run of every schedule of params.yaml.

    Raises httpx.HTTPError where the server does not answer.
    """
    wanted = readable(root)
    if not wanted:
        return []
    now = datetime.now(UTC)
    with asking(root) as client:
        there = own_deployments(client, root)
        found: list[Coming] = []
        for due in wanted:
            of_it = [one for one in there if is_of(one, due)]
            if not of_it:
                mend = "start the worker anew ('modelyard down', 'modelyard up'), or 'modelyard deploy POOL' again"
                found.append(Coming(due, None, f"no worker or pool has offered it to Prefect's server; {mend}"))
                continue
            found += [Coming(due, *next_of(client, one, now)) for one in of_it]
        return found


def next_of(client: "SyncPrefectClient", deployment: Any, now: datetime) -> tuple[datetime | None, str]:
    """Return when a deployment runs next, or None and why it does not."""
    if deployment.paused or not any(schedule.active for schedule in deployment.schedules):
        return None, ""
    runs = runs_of(client, [deployment.id], after=now, limit=1)
    if runs:
        return runs[0].expected_start_time, ""
    renewed = client.read_deployment(deployment.id).updated  # maybe since it was looked at
    if renewed and now - renewed < WRITTEN_WITHIN:
        return now, ""  # it was put there just now
    return None, (
        "its schedule is active, but Prefect's server writes no run for it, so it will never fire; its log "
        "(.modelyard/logs/prefect.log) says why; 'pip install -r requirements.lock' brings the versions that fit"
    )


def runs_of(
    client: "SyncPrefectClient",
    deployments: Sequence[UUID],
    *,
    after: datetime | None = None,
    before: datetime | None = None,
    types: Sequence[str] = ("SCHEDULED",),
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Any]:
    """Return the runs of these deployments in some states, by the time at which they were,
    or are, expected to start."""
    from prefect.client.schemas import filters, sorting
    from prefect.client.schemas.objects import StateType

    within: Any = {"after_": after, "before_": before}
    wanted = filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=list(deployments)),
        expected_start_time=filters.FlowRunFilterExpectedStartTime(**within),
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType(name) for name in types] or None)
        ),
    )
    order = sorting.FlowRunSort
    sort = order.EXPECTED_START_TIME_DESC if newest_first else order.EXPECTED_START_TIME_ASC
    found: list[Any] = []
    while page := client.read_flow_runs(
        flow_run_filter=wanted, sort=sort, limit=min(limit or PAGE, PAGE), offset=len(found)
    ):
        found += page
        if len(page) < PAGE or (limit and len(found) >= limit):
            break
    return found


def is_of(deployment: Any, due: Due) -> bool:
    return (deployment.entrypoint.rpartition(".")[2], deployment.parameters.get("recipe")) == (due.flow, due.recipe)


@contextmanager
def asking(root: Path) -> Generator["SyncPrefectClient"]:
    """Yield a client of the project's Prefect server. httpx.HTTPError, at once, where none is
    up or it does not answer."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = PREFECT_API_URL.value() or prefect_server(root)
    if not url:
        raise httpx.ConnectError("no Prefect server is up")
    httpx.get(f"{url}/health", timeout=5).raise_for_status()  # the client itself waits for minutes
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        yield client


# ---------------------------------------------------------------- one run for all that are overdue


def stand_for_overdue(root: Path) -> None:
    """Have the flow run that calls this stand for all others of its deployment that are due by now.

    After a night without a worker, or a run that took longer than its schedule's interval, one look at the source is
    enough. A server that does not answer is no reason not to run.
    """
    from prefect.runtime import deployment, flow_run

    if not deployment.id:
        return
    try:
        with asking(root) as client:
            skip(client, overdue(client, UUID(str(deployment.id))), stand_in=f"run '{flow_run.id}'")
    except Exception as error:
        logger.warning("runs that are overdue could not be skipped: %s", error)


def skip_all_but_newest(client: "SyncPrefectClient", deployments: Sequence[Any]) -> None:
    """Skip all overdue runs of each deployment but the newest."""
    for one in deployments:
        if runs := overdue(client, one.id):
            skip(client, runs[:-1], stand_in=f"run '{runs[-1].id}'")


def overdue(client: "SyncPrefectClient", deployment: UUID) -> list[Any]:
    """Return the runs of a deployment that should have started by now, the newest last."""
    return runs_of(client, [deployment], before=datetime.now(UTC))


def skip(client: "SyncPrefectClient", runs: Sequence[Any], *, stand_in: str) -> None:
    """End runs that never began, with a word on which run does what they were to do."""
    from prefect.states import Cancelled

    for run in runs:
        state = Cancelled(name=SKIPPED, message=f"it was overdue; {stand_in} does what it was to do")
        client.set_flow_run_state(run.id, state, force=True)
    if runs:
        logger.info("%d overdue runs of %s skipped: one stands for all", len(runs), runs[0].name)


# ---------------------------------------------------------------- what nobody wrote ahead


def catch_up(client: "SyncPrefectClient", deployment: Any, *, since: datetime) -> bool:
    """Add one run where the schedule had a time after `since` for which the server has no run; return whether it did.

    The server only writes what is to come: what falls due while it is away for longer than it wrote ahead, or between
    the moments in which a worker gives it the schedule anew and in which it writes, would be lost.
    """
    from prefect.states import Scheduled

    now = datetime.now(UTC)
    since = max(since, last_due(client, deployment) or since)
    # What is due this minute may yet be written, or be on its way.
    until = now - timedelta(seconds=30)
    missed = [
        time
        for one in deployment.schedules
        if one.active and not deployment.paused and since < until
        for time in times_of(one.schedule, start=since + timedelta(seconds=1), end=until)
    ]
    if not missed:
        return False
    key = f"catch-up {deployment.id} {max(missed).isoformat()}"
    client.create_flow_run_from_deployment(
        deployment.id, state=Scheduled(), name=deployment.name, tags=["catch-up"], idempotency_key=key
    )
    logger.warning(
        "%s %s was due at %s UTC, and no run of it is known: it runs now",
        deployment.entrypoint.rpartition(".")[2],
        deployment.name,
        f"{max(missed):%Y-%m-%d %H:%M}",
    )
    return True


def last_due(client: "SyncPrefectClient", deployment: Any) -> datetime | None:
    """Return when the newest run that is due by now was expected to start; None where there was none yet."""
    runs = runs_of(client, [deployment.id], before=datetime.now(UTC), types=(), limit=1, newest_first=True)
    return runs[0].expected_start_time if runs else None


# ---------------------------------------------------------------- slots that nobody holds


def free_slots(client: "SyncPrefectClient", deployments: Sequence[Any]) -> None:
    """Give back the place of a run that is gone: a server that was killed may have forgotten who holds it, and no
    later run would ever start."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    for one in deployments:
        limit = one.global_concurrency_limit
        if limit is None or not limit.active_slots:
            continue
        if not runs_of(client, [one.id], types=("PENDING", "RUNNING", "CANCELLING"), limit=1):
            client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=0))
            logger.warning("%s: the place of a run that is gone was given back", one.name)
