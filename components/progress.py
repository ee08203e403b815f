"""Progress of long work: a live bar on a terminal, a plain line at each interval elsewhere."""

import logging
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

INTERVAL_S = 15.0


class Bar:
    """Counts steps of known number; `update` may carry figures that are shown beside the bar."""

    def __init__(self, title: str, total: int, live: Progress | None) -> None:
        self.title, self.total, self.done = title, total, 0
        self._live = live
        self._task = live.add_task(title, total=total, figures="") if live else None
        self._started = self._spoke = time.monotonic()

    def update(self, done: int, figures: Mapping[str, float] = MappingProxyType({})) -> None:
        """Say that `done` of the steps are done."""
        self.done = done
        text = "  ".join(f"{name} {shown(value)}" for name, value in figures.items())
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done, figures=text)
            return
        now = time.monotonic()
        if now - self._spoke >= INTERVAL_S:
            self._spoke = now
            left_s = (now - self._started) / max(done, 1) * (self.total - done)
            logger.info("%s %d/%d  %s  %.0f s left", self.title, done, self.total, text, left_s)


def shown(value: float) -> str:
    """Three digits, and no exponent for what is counted."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@contextmanager
def progress(title: str, *, total: int) -> Generator[Bar]:
    """A bar for `total` steps of work, shown on standard error."""
    if not sys.stderr.isatty():
        yield Bar(title, total, None)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=10), MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip  # in 80 columns, with three figures
    with Progress(*columns, console=Console(stderr=True), transient=True) as live:
        yield Bar(title, total, live)
