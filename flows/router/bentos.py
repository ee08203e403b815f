"""A Bento that is served beside others: its process, the requests that it is answering, and its end."""

import asyncio
import contextlib
import os
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from components.monitoring.traffic_log import traffic_environment
from components.package.bento import (
    bento_folder,
    build_bento,
    fault_of_bento,
    free_port,
    remove_bento,
    serve_command,
    stop,
)  # fmt: skip
from components.params import Recipe
from components.plumbing.artifacts import Layout
from components.plumbing.errors import ArtifactError
from components.plumbing.processes import start, wait_until_ready
from components.tracking.registry import fault_of
from flows.router.versions import ServedVersion
from flows.servers.ports import HOST
from serving.bundle import SOURCES, load_about
from serving.log.traffic import SHADOW
from serving.tasks import endpoint_of

LARGE_REQUEST_BYTES = 64 * 2**20
"""The longest body that is passed to a bundle whose limits cannot be read, since another release made it; its own
service keeps its limits in any case."""

READ_S = 10.0
"""The most seconds that a request may take to arrive where no bundle says it."""


@dataclass(frozen=True)
class Prepared:
    """The facts about a version that the router needs before it starts it."""

    route: str
    """The path that the model answers on."""
    max_bytes: int
    """The longest request body that is read, in bytes."""
    ready_timeout_s: float
    max_read_s: float = READ_S
    """The most seconds that the headers of a request may take to arrive, and then its body."""


class Launcher:
    """The builder and starter of a recipe's Bentos."""

    def __init__(self, root: Path, recipe: str, settings: Recipe, *, secret: str) -> None:
        self.root, self.recipe, self.settings, self.secret = root, recipe, settings, secret

    def prepare(self, version: ServedVersion) -> Prepared:
        """Put a version's Bento into the store. ArtifactError where its bundle is not the one that was promoted.

        The bundle's folder may be gone: what was built from it serves as well, where it is unharmed.
        """
        harm = fault_of_bento(version.tag, version.identity)
        if version.bundle.is_dir() or harm is not None:
            if fault := fault_of(version.bundle, version.identity):
                raise ArtifactError(f"the bundle of {version.name} is not the one that was promoted: {fault}")
            if harm is not None:
                self.build(version)
        return described(bento_folder(version.tag) / SOURCES, ready_timeout_s=self.settings.package.ready_timeout_s)

    def build(self, version: ServedVersion) -> None:
        """Build the version's Bento anew; ArtifactError where the result has another tag than the version."""
        remove_bento(version.tag)
        provenance = Layout(self.root, self.recipe, "package").observations / "provenance.json"
        built = build_bento(version.bundle, provenance)
        if built != version.tag:
            remove_bento(built)
            raise ArtifactError(f"the bundle of {version.name} gives the Bento {built}; promote a version again")

    def start(self, version: ServedVersion, port: int) -> psutil.Popen:
        """Start a version's Bento on a port."""
        log = self.log_of(version)
        log.parent.mkdir(parents=True, exist_ok=True)
        more = {**traffic_environment(self.root, self.recipe, self.settings), SHADOW: self.secret}
        command = serve_command(version.tag, HOST, port)
        return start(command, folder=log.parent, log=log, environment={**os.environ, **more})

    def log_of(self, version: ServedVersion) -> Path:
        """Return the path of the log of a version's Bento."""
        return self.root / ".modelyard" / "logs" / f"bento-{version.tag.replace(':', '-')}.log"


def described(bundle: Path, *, ready_timeout_s: float) -> Prepared:
    """Return the facts about a bundle that the router needs."""
    about = load_about(bundle)
    endpoint = endpoint_of(about.task)
    most = LARGE_REQUEST_BYTES
    limits: Any = endpoint.Limits  # a dataclass, which its protocol cannot say
    if {limit.name for limit in fields(limits)} == set(about.limits):  # those of another release may differ
        most = max(endpoint.max_bytes(bundle, endpoint.Limits(**about.limits)).values())
    max_read_s = about.limits.get("max_read_ms", 1000 * READ_S) / 1000
    return Prepared(endpoint.ROUTE, most, ready_timeout_s, max_read_s)


class Bento:
    """One version, served on a port of its own."""

    def __init__(self, version: ServedVersion, prepared: Prepared, process: psutil.Popen, port: int) -> None:
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
        """Note that the Bento refuses all requests for the next `seconds`."""
        self.full_until, self.retry_after_s = time.monotonic() + seconds, retry_after_s

    @property
    def is_full(self) -> bool:
        return time.monotonic() < self.full_until

    @contextlib.contextmanager
    def busy(self) -> Generator[None]:
        """Count a request of the Bento for the block, so that it is not stopped meanwhile."""
        self.in_flight += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    async def drained(self, timeout_s: float) -> None:
        """Return when the Bento has no request any more, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()

    def seen(self) -> Mapping[str, object]:
        """Return the version, tag, address and process of the Bento, for the state that the router writes."""
        version = self.version
        return {
            "version": version.version,
            "digest": version.digest,
            "build": version.build,
            "tag": version.tag,
            "url": self.url,
            "pid": self.process.pid,
        }


async def start_bento(version: ServedVersion, launcher: Launcher) -> Bento:
    """Start a version's Bento, and return it once it is ready. Raises what `prepare` raises, or ModelyardError where it
    ends or takes too long; nothing is then left running."""
    prepared = await asyncio.to_thread(launcher.prepare, version)
    port = free_port()
    # On this thread: Linux ends the process with the thread that started it.
    bento = Bento(version, prepared, launcher.start(version, port), port)
    try:
        await asyncio.to_thread(
            wait_until_ready, bento.process, f"{bento.url}/readyz", name=f"the Bento of {version.name}",
            timeout_s=prepared.ready_timeout_s, log=launcher.log_of(version), setting="ready_timeout_s",
        )  # fmt: skip
    except BaseException:
        await asyncio.shield(stop_bento(bento))
        raise
    return bento


async def stop_bento(bento: Bento) -> None:
    """End a Bento's process, and all that it started."""
    await asyncio.to_thread(stop, bento.process)
