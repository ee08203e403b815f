"""worker: runs what params.yaml schedules, when it is due, and keeps the schedules in order meanwhile.

Twice a minute it looks after them: a run whose process is gone is marked, the place that it held is given back, a run
that nobody wrote ahead is added, and a schedule that has no coming run is named. A Prefect server that goes away is
waited for.
"""

import logging
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from components.plumbing.errors import StoreError
from components.plumbing.locks import hold
from components.plumbing.processes import identity
from components.recipes import PARAMS
from flows.pipeline.running import WORKER_VARIABLE, mark_killed
from flows.servers.server import until_interrupted
from flows.upkeep.deployments import deployments_of, remove_others
from flows.upkeep.due import asking, catch_up, coming_runs, free_slots, skip_all_but_newest
from flows.upkeep.offered import Since, name_of, offered_since
from flows.upkeep.planned import faulty_recipes, own_deployments, readable
from flows.upkeep.times import described

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.deployments.runner import RunnerDeployment

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
WAIT_S = 5.0
"""Seconds between two tries to reach a server that is away."""


def serve_schedules(root: Path) -> None:
    """Run what is due, when it is due, until Ctrl-C or SIGTERM. BusyError where this project has a worker already,
    StoreError where Prefect's server does not answer at the start.

    The schedules of a recipe with faults wait until it is mended and the worker started again.
    """
    with hold(root, "worker.process", doing="modelyard worker", wait=False), for_runs(root):
        from flows.pipeline.run import check_prefect

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
        remove_others(root, deployments, pool=None, spared=faulty)
        for due in readable(root):
            logger.info("%s: %s", due, described(due.schedule))
        while not served(root, deployments):
            wait_for_prefect()


def served(root: Path, deployments: list["RunnerDeployment"]) -> bool:
    """Serve until asked to end, and return True; False where Prefect's server went away."""
    from prefect import serve

    names = [one.name for one in deployments]
    since = offered_since(root, deployments)
    try:
        tidy(root, names)
        take_up(root, since)
        with looked_after(root, names, since):
            serve(*deployments, pause_on_shutdown=False, print_starting_message=False)
    except Exception as error:
        if not is_of_the_server(error):
            raise
        return False
    return True


def is_of_the_server(error: BaseException) -> bool:
    """Return whether an error says no more than that Prefect's server is away."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_of_the_server(one) for one in error.exceptions)
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    # Prefect's loops end so after a few failures in a row.
    return isinstance(error, httpx.TransportError) or "Service exceeded error threshold" in str(error)


def wait_for_prefect() -> None:
    """Return once Prefect's server answers."""
    from flows.pipeline.run import check_prefect

    logger.warning("Prefect's server went away; the schedules wait until it answers again")
    while True:
        with suppress(StoreError):
            check_prefect()
            logger.info("Prefect's server answers again")
            return
        time.sleep(WAIT_S)


def take_up(root: Path, since: Since) -> None:
    """Have one run stand for all that fell due while no worker was there, for each schedule."""
    with asking(root) as client:
        catch_up_all(root, client, since)
        skip_all_but_newest(client, own_deployments(client, root, pool=None))


def catch_up_all(root: Path, client: "SyncPrefectClient", since: Since) -> None:
    """Add one run of each schedule that had a time, since it stands and the server knows it, of which there is none."""
    for one in own_deployments(client, root, pool=None):
        if start := since.get(name_of(one)):
            catch_up(client, one, since=max(start, one.created or start))


@contextmanager
def looked_after(root: Path, names: list[str], since: Since) -> Generator[None]:
    """Look after the schedules while the block runs."""
    done = threading.Event()
    watch = threading.Thread(target=look_after, args=(root, names, since, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join(timeout=LOOK_EVERY_S)


def look_after(root: Path, names: list[str], since: Since, done: threading.Event) -> None:
    """Every LOOK_EVERY_S, mark runs that were killed, free places that nobody holds, add runs for times that nobody
    wrote ahead, and name each schedule that will not fire once."""
    named: set[str] = set()
    while not done.wait(LOOK_EVERY_S):
        try:
            tidy(root, names, is_running=True)
            with asking(root) as client:
                catch_up_all(root, client, since)
            for coming in coming_runs(root):
                if coming.fault and str(coming) not in named:
                    logger.error("%s", coming)
                    named.add(str(coming))
        except Exception as error:
            if not is_of_the_server(error):
                logger.warning("the schedules could not be looked after: %s", error)


def tidy(root: Path, names: list[str], *, is_running: bool = False) -> None:
    """Mark the runs that were killed, and give back the places that they held."""
    mark_killed(root, names, is_worker_there=is_running)
    with asking(root) as client:
        free_slots(client, own_deployments(client, root, pool=None))


@contextmanager
def for_runs(root: Path) -> Generator[None]:
    """Set for the block what the runs of a worker inherit: that they end with it, where they work, and
    that they say what they do.

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
