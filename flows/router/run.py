"""Runs a router until SIGTERM or Ctrl-C, which let it finish what it accepted."""

import asyncio
import contextlib
import logging
import signal

from aiohttp import web

from flows.router.bentos import Launcher
from flows.router.connections import Server
from flows.router.keeper import Keeper, RouterPaths
from flows.router.project import Project
from flows.router.proxy import Proxy, new_session
from serving.log.segments import Segments

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""The most connections that wait to be accepted: in a burst the first answer may be 503, but
not a refused connection."""


async def run_router(
    project: Project, *, launcher: Launcher, paths: RouterPaths, host: str, port: int, drain_timeout_s: float,
    secret: str, log: Segments | None,
) -> None:  # fmt: skip
    """Serve on a port until a signal comes; every Bento is then stopped.

    What is turned away here goes into `log`, in which each Bento writes the rest.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with new_session() as session:
        keeper = Keeper(project, launcher=launcher, paths=paths, drain_timeout_s=drain_timeout_s)
        proxy = Proxy(keeper, session, secret=secret, log=log)
        proxy.lateness.start()
        server = Server(proxy.handle, read_s=lambda: keeper.max_read_s)
        runner = web.ServerRunner(server, shutdown_timeout=drain_timeout_s)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        logger.info("listening on http://%s:%d", host, port)
        tasks = [asyncio.create_task(work()) for work in (keeper.keep, keeper.follow_builds, keeper.try_challengers)]
        await stopped.wait()
        logger.info("stopping: what was accepted is finished first")
        await runner.cleanup()
        if proxy.turned_away is not None:
            proxy.turned_away.write()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await keeper.stop()
