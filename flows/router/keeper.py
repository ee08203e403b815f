"""Keeps the champion served: follows who it is and how it is built, changes to a new one, starts it again when it ends,
tries a challenger.

A change: the new Bento is started and waited for; then requests go to it; the old one finishes what it has, and is
stopped. Where the new one cannot be served, the old one keeps serving, and the state that is written says why.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import write_json
from components.plumbing.errors import DiskFullError
from flows.router.bentos import READ_S, Bento, Launcher, start_bento, stop_bento
from flows.router.challenge import Challenge, now
from flows.router.project import Project, is_verdict_on
from flows.router.versions import ServedVersion, VersionError, read_version

logger = logging.getLogger(__name__)

POLL_S = 0.25
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 60.0
STEADY_S = 60
"""Seconds after which a Bento that served for so long is started again at once when it ends."""
ADOPTION_S = 10
"""Seconds within which a promoted challenger must become champion; otherwise it is stopped. It has the time of a start
more, since it may have been packaged again meanwhile."""
BUILD_DELAY_S = 600
"""The most seconds before promotion is asked again to name a packaged build: each time starts a process for seconds."""
AFTER_FAULT_S = 5
SMALLEST_LIMIT = 2**16


@dataclass(frozen=True)
class RouterPaths:
    """The paths that the router writes to."""

    state: Path
    verdict: Path
    comparisons: Path
    """The folder of the comparisons, with one file for each challenger."""
    served: Path
    """The file that names the version that was served last, for a router that starts when the champion cannot."""


@dataclass
class Backoff:
    """The time when something that failed may be tried again; the pauses double."""

    failures: int = 0
    due: float = field(default_factory=time.monotonic)

    def failed(self, *, max_delay_s: float = MAX_DELAY_S) -> None:
        self.due = time.monotonic() + min(max_delay_s, FIRST_DELAY_S * 2**self.failures)
        self.failures += 1

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due


class Keeper:
    """The state of one recipe's service. One thread, the event loop's, changes it."""

    def __init__(self, project: Project, *, launcher: Launcher, paths: RouterPaths, drain_timeout_s: float) -> None:
        self.project, self.launcher, self.paths = project, launcher, paths
        self.drain_timeout_s = drain_timeout_s
        self.current: Bento | None = None
        self.last = last_served(paths.served)
        """The version that was served last, also once it ended, or by the router before this one."""
        self.challenge: Challenge | None = None
        self.refused: Mapping[str, Any] | None = None
        """The reason why the champion is not served, with its version and time; None where it is."""
        self.backoffs: dict[str, Backoff] = {}
        """When a Bento may be started again, by its build."""
        self.asked: dict[str, Backoff] = {}
        """When promotion may be asked again to name a build that was packaged, by the build."""
        self.untaken: Mapping[str, Any] | None = None
        """The packaged build that promotion does not name, and why; None where there is none."""
        self.named_ns = 0
        """The time in nanoseconds at which the file that names the wanted champion was written."""
        self.crashes = 0
        self.retiring: set[asyncio.Task[None]] = set()
        self.written: dict[Path, Mapping[str, Any]] = {}

    # -------------------------------------------------------- what the proxy asks

    @property
    def max_bytes(self) -> int:
        """The longest request body that is read, in bytes."""
        return max(self.current.prepared.max_bytes if self.current else 0, SMALLEST_LIMIT)

    @property
    def max_read_s(self) -> float:
        """The most seconds that the headers of a request may take to arrive, and then its body."""
        return self.current.prepared.max_read_s if self.current else READ_S

    @property
    def excuse(self) -> str:
        """The reason why nothing answers."""
        if self.refused is not None:  # why is not for clients: it may name paths and lines of a log
            return "no model is served; 'modelyard status' says why"
        return "no model is served yet" if self.last is None else "the model is being started again"

    @property
    def retry_after_s(self) -> int:
        return 1 if self.refused is None else 10

    # -------------------------------------------------------- the champion

    async def keep(self) -> None:
        """Serve whoever is champion, until cancelled."""
        while True:
            try:
                await self.follow_champion()
                self.write_state()
            except Exception:  # a fault here must not end the service
                logger.exception("the champion could not be followed")
                await asyncio.sleep(AFTER_FAULT_S)
            await asyncio.sleep(POLL_S)

    async def follow_champion(self) -> None:
        self.notice_crash()
        try:
            wanted = self.project.champion()
        except Exception as error:
            self.refuse(None, str(error))
            wanted = self.current.version if self.current else self.last
            if wanted is not None and self.current is None:
                await self.take(wanted)
            return
        if wanted is None:
            return
        if not self.is_served(wanted):
            if wanted.named_ns != self.named_ns:  # named anew: what was wrong with it may be mended
                self.named_ns = wanted.named_ns
                self.backoffs.pop(wanted.build, None)
            await self.take(wanted)
        if self.current is None and self.last is not None and self.last.build != wanted.build:
            await self.take(self.last)
        if self.current is not None and self.is_served(wanted):
            self.current.version = wanted  # its number, which it gets after it was packaged
            self.refused = None

    def is_champion(self, version: ServedVersion) -> bool:
        """Return whether the model of a version is served, in whatever build."""
        return self.current is not None and self.current.version.digest == version.digest

    def is_served(self, version: ServedVersion) -> bool:
        """Return whether a version is served, in this build."""
        return self.current is not None and self.current.version.build == version.build

    def notice_crash(self) -> None:
        """Stop sending requests to a Bento that ended."""
        bento = self.current
        if bento is None or bento.is_alive:
            return
        self.current, self.last = None, bento.version
        self.crashes += 1
        logger.error("the Bento of %s ended with code %s", bento.version.name, bento.process.returncode)
        backoff = self.backoff_of(bento.version)
        if time.monotonic() - bento.started > STEADY_S:
            backoff.failures, backoff.due = 0, time.monotonic()
        else:
            backoff.failed()

    def backoff_of(self, version: ServedVersion) -> Backoff:
        return self.backoffs.setdefault(version.build, Backoff())

    async def take(self, version: ServedVersion) -> None:
        """Serve a version in place of the present one; where that fails, all stays as it is."""
        if not self.backoff_of(version).is_due:
            return
        self.write_state()
        try:
            bento = self.adopted(version) or await start_bento(version, self.launcher)
        except Exception as error:  # whatever is wrong with the new one, the old one keeps serving
            self.backoff_of(version).failed()
            self.refuse(version, " ".join(str(error).split()))
            return
        old, self.current, self.last = self.current, bento, bento.version
        logger.info("%s is served", version.name)
        write_whole(self.paths.served, named(version))
        if old is not None:
            self.retire(old)

    def adopted(self, version: ServedVersion) -> Bento | None:
        """Return the challenger's Bento, where the challenger has become champion; else None."""
        challenge = self.challenge
        if challenge is None or challenge.bento.version.build != version.build or not challenge.bento.is_alive:
            return None
        self.challenge, challenge.is_over = None, True
        return challenge.bento

    def refuse(self, version: ServedVersion | None, reason: str) -> None:
        """Note why a champion is not served."""
        build, name = (version.build, version.name) if version else ("", "the champion")
        if self.refused is None or (self.refused["build"], self.refused["reason"]) != (build, reason):
            logger.error("%s is not served: %s", name, reason)
            self.refused = {
                "version": version.version if version else "",
                "digest": version.digest if version else "",
                "build": build,
                "reason": reason,
                "time": now(),
            }

    def retire(self, bento: Bento) -> None:
        """Stop a Bento once it has answered what it was asked."""

        async def run() -> None:
            await bento.drained(self.drain_timeout_s)
            await stop_bento(bento)
            logger.info("%s is stopped", bento.version.name)

        task = asyncio.create_task(run())
        self.retiring.add(task)
        task.add_done_callback(self.retiring.discard)

    # -------------------------------------------------------- the champion's builds

    async def follow_builds(self) -> None:
        """Have promotion name each newly packaged build of the champion, until cancelled; `keep` then serves it."""
        while True:
            try:
                await self.take_build()
            except Exception:
                logger.exception("the packaged build could not be looked at")
                await asyncio.sleep(AFTER_FAULT_S)
            await asyncio.sleep(POLL_S)

    async def take_build(self) -> None:
        found = self.project.untaken()
        if found is None:
            self.untaken = None
        if found is None or not self.asked.setdefault(found.build, Backoff()).is_due:
            return
        self.asked[found.build].failed(max_delay_s=BUILD_DELAY_S)  # once it is named it is not found again
        refusal = await asyncio.to_thread(self.project.take_build)
        self.untaken = {"build": found.build, "tag": found.tag, "reason": refusal} if refusal else None
        if refusal:
            logger.warning("%s was packaged, and is not served: %s", found.name, refusal)

    # -------------------------------------------------------- the challenger

    async def try_challengers(self) -> None:
        """Try whoever is challenger, until cancelled."""
        while True:
            try:
                await self.follow_challenger()
            except Exception:
                logger.exception("the challenger could not be tried")
                await asyncio.sleep(AFTER_FAULT_S)
            await asyncio.sleep(POLL_S)

    async def follow_challenger(self) -> None:
        challenge, wanted, champion = self.challenge, self.project.challenger(), self.current
        if challenge is None:
            if wanted and champion and not self.is_champion(wanted) and not self.is_judged(wanted):
                await self.begin(wanted, champion.version)
            return
        if wanted is None or wanted.digest != challenge.bento.version.digest:
            self.end(challenge, "withdrawn", "it is no longer the challenger")
        elif champion is not None and champion.version.digest != challenge.champion.digest:
            self.end(challenge, None, "the champion changed; it is tried again")
        elif not challenge.bento.is_alive:
            self.end(challenge, "failed", f"its Bento ended with code {challenge.bento.process.returncode}")
        elif (regression := challenge.trial.regression()) is not None:
            self.end(challenge, "failed", regression)
        elif challenge.trial.verdict() == "passed":
            await self.promote(challenge)
        else:
            self.write_verdict(challenge.figures(), "running", "")

    def is_judged(self, version: ServedVersion) -> bool:
        """Return whether there is a verdict on a challenger already: each is tried once."""
        try:
            seen = json.loads(self.paths.verdict.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return is_verdict_on(version, seen)

    async def begin(self, version: ServedVersion, champion: ServedVersion) -> None:
        rules = self.project.rules()
        if rules is None or not self.backoff_of(version).is_due:
            return
        try:
            bento = await start_bento(version, self.launcher)
        except Exception as error:
            figures = {
                "version": version.version,
                "digest": version.digest,
                "build": version.build,
                "tag": version.tag,
                "mode": rules.mode,
            }
            self.write_verdict({**figures, "ended": now()}, "failed", " ".join(str(error).split()))
            logger.error("the challenger %s is dropped: %s", version.name, error)
            return
        if self.is_champion(version):  # promoted by hand meanwhile, and started twice
            self.retire(bento)
            return
        self.paths.comparisons.mkdir(parents=True, exist_ok=True)
        log = self.paths.comparisons / f"{version.digest[:12]}.jsonl"
        self.challenge = Challenge(bento, champion, rules, log=log)
        logger.info("%s is tried on %g of the requests (%s)", version.name, rules.share, rules.mode)

    def end(self, challenge: Challenge, state: str | None, reason: str, **more: Any) -> None:
        """Drop a challenger and stop its Bento; without a state no verdict is written, and it may be tried again."""
        challenge.is_over = True
        if self.challenge is challenge:
            self.challenge = None
            self.retire(challenge.bento)
        if state is not None:
            self.write_verdict({**challenge.figures(), "ended": now(), **more}, state, reason)
        logger.info("the trial of %s has ended: %s", challenge.bento.version.name, reason)

    async def promote(self, challenge: Challenge) -> None:
        """Have promotion make the champion of a challenger that passed; its Bento stays until the
        promotion took effect or failed."""
        challenge.is_over = True
        version = challenge.bento.version
        self.write_verdict(challenge.figures(), "promoting", "no regression")
        refusal = await asyncio.to_thread(self.project.promote, version)
        give_up = time.monotonic() + ADOPTION_S + challenge.bento.prepared.ready_timeout_s
        while refusal is None and not self.is_champion(version) and time.monotonic() < give_up:
            await asyncio.sleep(POLL_S)
        if refusal is None and self.is_champion(version):
            self.end(challenge, "promoted", "no regression")
        else:
            self.end(challenge, "not promoted", refusal or "it was promoted, and could not be served in time")

    # -------------------------------------------------------- what is written, and the end

    def state(self) -> dict[str, Any]:
        """Return the state of the service, for `modelyard status`."""
        is_off = self.refused is not None or self.crashes > 0
        if self.current is not None:
            state = "serving" if self.refused is None and self.untaken is None else "degraded"
        else:
            state = "down" if is_off else "starting" if self.backoffs else "waiting"
        return {
            "state": state,
            "serving": dict(self.current.seen()) if self.current else None,
            "refused": self.refused,
            "untaken": self.untaken,
            "crashes": self.crashes,
            "draining": len(self.retiring),
            "challenger": self.challenge.figures() if self.challenge else None,
        }

    def write_state(self) -> None:
        self.write(self.paths.state, self.state())

    def write_verdict(self, figures: Mapping[str, Any], state: str, reason: str) -> None:
        self.write(self.paths.verdict, {**figures, "state": state, "reason": reason})

    def write(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a value where it differs from what was written there last."""
        if self.written.get(path) != value and write_whole(path, {**value, "updated": now()}):
            self.written[path] = value

    async def stop(self) -> None:
        """Stop every Bento; to be called when no request is under way any more."""
        bentos = [self.current, self.challenge.bento if self.challenge else None]
        if self.challenge is not None:
            self.challenge.is_over = True
        self.current, self.challenge = None, None
        stops = [stop_bento(bento) for bento in bentos if bento is not None]
        await asyncio.gather(*stops, *self.retiring, return_exceptions=True)
        self.paths.state.unlink(missing_ok=True)


def named(version: ServedVersion) -> dict[str, str]:
    """Return a version in the form of promotion's files."""
    return {
        "version": version.version,
        "digest": version.digest,
        "build": version.build,
        "tag": version.tag,
        "bundle": str(version.bundle),
    }


def last_served(path: Path) -> ServedVersion | None:
    """Return the version that was served last; None where the file names none."""
    with suppress(VersionError):
        return read_version(path, root=path.parent)
    return None


def write_whole(path: Path, value: object) -> bool:
    """Write JSON whole or not at all; return whether that was possible: a full disk must not end the service."""
    try:
        write_json(path, value, durable=False)  # it may change with every request
    except (OSError, DiskFullError) as error:
        logger.warning("%s could not be written: %s", path, error)
        return False
    return True
