"""A challenger beside the champion: its Bento, its trial, and the comparisons that are under way."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.router.bentos import Bento
from flows.router.trial import RequestTrial, Rules, TimedAnswer
from flows.router.versions import ServedVersion

logger = logging.getLogger(__name__)

MAX_COMPARISONS = 4
"""The most comparisons at once: more are left out, so that requests that nobody sees do not keep clients waiting."""


class Challenge:
    """One challenger's trial against one champion."""

    def __init__(self, bento: Bento, champion: ServedVersion, rules: Rules, *, log: Path) -> None:
        self.bento, self.champion, self.rules, self.log = bento, champion, rules, log
        self.trial = RequestTrial(rules)
        self.started = now()
        self.comparisons: set[asyncio.Task[None]] = set()
        self.left_out = 0
        self.is_over = False

    @property
    def is_open(self) -> bool:
        """Whether the trial takes another request."""
        return not self.is_over and self.bento.is_alive and self.trial.verdict() == "running"

    def later(self, compare: Callable[[], Awaitable[None]]) -> None:
        """Compare the two answers after the client was answered, unless too many comparisons are under way."""
        if len(self.comparisons) >= MAX_COMPARISONS:
            self.left_out += 1
            return

        async def run() -> None:
            await asyncio.sleep(0)
            try:
                await compare()
            except Exception as error:  # the champion may be gone meanwhile: this request is then no measure
                logger.warning("a request could not be compared: %s", error)

        task = asyncio.create_task(run())
        self.comparisons.add(task)
        task.add_done_callback(self.comparisons.discard)

    def record(self, champion: TimedAnswer, challenger: TimedAnswer, *, request_id: str | None) -> None:
        """Count a request that both answered, and log it: labels and latencies, no texts."""
        if self.is_over or self.trial.verdict() != "running":
            return
        line = {"request_id": request_id, "time": now(), **self.trial.record(champion, challenger)}
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:  # a full disk must not end the trial
            logger.warning("a comparison could not be logged: %s", error)

    def figures(self) -> dict[str, Any]:
        """Return the figures of the trial, for the verdict that the router writes."""
        version = self.bento.version
        return {
            "version": version.version,
            "digest": version.digest,
            "build": version.build,
            "tag": version.tag,
            "champion": {"version": self.champion.version, "digest": self.champion.digest},
            "mode": self.rules.mode,
            "share": self.rules.share,
            **self.trial.figures(),
            "left_out": self.left_out,
            "started": self.started,
        }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
