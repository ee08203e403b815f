"""A Bento that is served beside others: its process, what it is answering now, and its end."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import aiohttp

from serving.router.versions import Version

POLL_S = 0.1


@dataclass(frozen=True)
class Prepared:
    """What the router must know of a version before it starts."""

    route: str
    """The path that the model answers on."""
    max_bytes: int
    """The longest body that is read."""
    ready_timeout_s: float


@dataclass(frozen=True)
class Launcher:
    """How Bentos are started and stopped, handed in by who starts the router."""

    prepare: Callable[[Version], Prepared]
    """Checks the bundle and puts its Bento into the store; raises where the bundle is not the one that was promoted.
    Called on a thread."""
    start: Callable[[Version, int], subprocess.Popen[bytes]]
    """Starts the Bento on a port."""
    stop: Callable[[subprocess.Popen[bytes]], object]
    """Ends it, and all that it started. Called on a thread."""
    said: Callable[[Version], str]
    """The last line that a Bento of this version logged."""
    free_port: Callable[[], int]


class NotReady(Exception):
    """A Bento that ended, or took too long, before it was ready."""


class Bento:
    """One version, served on a port of its own."""

    def __init__(self, version: Version, prepared: Prepared, process: subprocess.Popen[bytes], port: int) -> None:
        self.version, self.prepared, self.process = version, prepared, process
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.monotonic()
        self.full_until, self.retry_after_s = 0.0, 0
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def said_full(self, seconds: float, *, retry_after_s: int) -> None:
        """It refuses whatever it is asked for so long."""
        self.full_until, self.retry_after_s = time.monotonic() + seconds, retry_after_s

    @property
    def is_full(self) -> bool:
        return time.monotonic() < self.full_until

    @contextlib.contextmanager
    def busy(self) -> Generator[None]:
        """It has a request for the block, so that it is not stopped."""
        self.in_flight += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    async def drained(self, timeout_s: float) -> None:
        """Return when it has no request any more, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()

    def seen(self) -> Mapping[str, object]:
        """For the state that is written."""
        return {"version": self.version.version, "tag": self.version.tag, "url": self.url, "pid": self.process.pid}


async def start_bento(version: Version, launcher: Launcher, session: aiohttp.ClientSession) -> Bento:
    """A Bento that is ready. Raises what `prepare` raises, or NotReady; nothing is then left running."""
    prepared = await asyncio.to_thread(launcher.prepare, version)
    port = launcher.free_port()
    # On this thread: Linux ends the process with the thread that started it.
    bento = Bento(version, prepared, launcher.start(version, port), port)
    try:
        await wait_until_ready(bento, session, said=launcher.said)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(launcher.stop, bento.process))
        raise
    return bento


async def wait_until_ready(bento: Bento, session: aiohttp.ClientSession, *, said: Callable[[Version], str]) -> None:
    """Return once it answers that it is ready; NotReady where it ends, or takes too long."""
    timeout_s = bento.prepared.ready_timeout_s
    while bento.is_alive and time.monotonic() - bento.started < timeout_s:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with session.get(f"{bento.url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(POLL_S)
    happened = f"was not ready after {timeout_s:g} s" if bento.is_alive else "ended before it was ready"
    raise NotReady(f"the Bento of {bento.version.name} {happened}; it said: {said(bento.version)}")
