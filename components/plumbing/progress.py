"""Progress of long work: a live bar on a terminal, a plain line at each interval elsewhere.

A process shows one bar at a time, in the last line of the terminal. What is logged meanwhile goes above it
(`components/plumbing/logs.py`), also by another process: each line begins by clearing the line that it is written to.

Who starts a process may ask it to leave its progress in a file, too, to be shown elsewhere.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from components.plumbing.artifacts import write_json
from components.plumbing.errors import DiskFullError
from components.plumbing.logs import Said, clears_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

INTERVAL_S = 15.0
SILENCE_S = 20.0  # longer than an interval, so that bars come first
PROGRESS_VARIABLE = "MODELYARD_PROGRESS"
"""The environment variable with the file to leave the progress in, set by the process that starts another."""
LEAVE_EVERY_S = 1.0
TICK_S = 1.0
"""The seconds after which a bar that goes by the clock moves."""
MAX_MILESTONES = 20
SHARES = ("mfu",)
"""The figures that are shares of a whole."""
BAR_WIDTH = 10
SHORT_TITLE = 9
"""The letters that are left of a title where the line is too long."""


class Bar:
    """A count of steps of a known number; `update` may carry figures that are shown beside the bar."""

    def __init__(self, title: str, total: int, live: "Progress | None") -> None:
        self.title, self.total, self.done = title, total, 0
        self._live = live
        self.task: TaskID | None = live.add_task(title, total=total, figures=()) if live else None
        self._started = time.monotonic()
        self._text = ""
        self.leave()

    def update(self, done: int, figures: Mapping[str, float] = MappingProxyType({})) -> None:
        """Set the number of steps that are done, and the figures beside the bar."""
        self.done = done
        told = tuple(f"{name} {shown(name, value)}" for name, value in figures.items())
        self._text = "  ".join(told)
        self.leave()
        if self._live is not None and self.task is not None:
            self._live.update(self.task, completed=done, figures=told)
            return
        self.say_if_due()

    def say_if_due(self) -> None:
        """Log a line, where no bar of this process has logged one for an interval."""
        now = time.monotonic()
        if now - Shown.spoke >= INTERVAL_S and now - self._started >= TICK_S:
            Shown.spoke = now
            left_s = (now - self._started) / max(self.done, 1) * (self.total - self.done)
            logger.info("%s %d/%d  %s  %.0f s left", self.title, self.done, self.total, self._text, left_s)

    def milestone(self, text: str) -> None:
        """Add a line on what was reached (an epoch and its figures) to the progress that is left in the file.

        Nothing is kept where no file is asked for.
        """
        if PROGRESS_VARIABLE not in os.environ:
            return
        Shown.milestones = [*Shown.milestones, text][-MAX_MILESTONES:]
        self.leave(at_once=True)

    def leave(self, *, at_once: bool = False) -> None:
        """Write the progress to the file, where one is asked for: at most once a second, or at once."""
        now = time.monotonic()
        if now - Shown.left < LEAVE_EVERY_S and not at_once:
            return
        Shown.left = now
        if path := os.environ.get(PROGRESS_VARIABLE):
            state = {"title": self.title, "done": self.done, "total": self.total, "figures": self._text}
            with suppress(OSError, DiskFullError):  # a disk that is full stops what must be written, not this
                write_json(Path(path), {**state, "milestones": Shown.milestones}, durable=False)


class Shown:
    """The display of this process: the open bars, each within the one before; the last is the one that is seen."""

    live: "Progress | None" = None
    bars: list[Bar] = []  # noqa: RUF012  (one for the process, which has one terminal)
    milestones: list[str] = []  # noqa: RUF012
    spoke: float = time.monotonic()
    """The time, by that clock, of the last line of a bar: several short ones in a row are not silent, either."""
    left: float = -LEAVE_EVERY_S
    """The time, by the monotonic clock, when the progress was last left in the file."""


def shown(name: str, value: float) -> str:
    """Return a figure with three digits, and without an exponent from 100 on; a share as a percentage."""
    if name in SHARES:
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def live_console() -> "Console | None":
    """Return the console to write to while a bar is shown, so that the bar stays below; None without one."""
    return Shown.live.console if Shown.live is not None else None


@contextmanager
def progress(title: str, *, total: int) -> Generator[Bar]:
    """Show a bar for `total` steps of work on standard error, for the block."""
    with shown_bar(title, total) as bar:
        try:
            yield bar
        finally:
            bar.leave(at_once=True)


@contextmanager
def timed_progress(title: str, *, at_most_s: float) -> Generator[Bar]:
    """Show a bar that the clock moves, for work in the block that cannot say how far it is: a call into a library."""
    total = max(1, math.ceil(at_most_s))
    with progress(f"{title}, seconds at most", total=total) as bar:
        started = time.monotonic()

        def tick() -> None:
            bar.update(min(round(time.monotonic() - started), total))

        with repeated(tick, every_s=TICK_S):
            yield bar


@contextmanager
def going_on(title: str) -> Generator[None]:
    """Say that the work in the block goes on, where nothing was said for a while and no bar is on the terminal."""
    started = time.monotonic()

    def speak() -> None:
        now = time.monotonic()
        if Shown.live is None and now - Said.at >= SILENCE_S:
            Said.at = now
            logger.info("%s goes on, for %.0f s so far", title, now - started)

    with repeated(speak, every_s=SILENCE_S / 4):
        yield


@contextmanager
def repeated(act: Callable[[], None], *, every_s: float) -> Generator[None]:
    """Call `act` again and again from a thread of its own, for the block."""
    ended = threading.Event()

    def act_until_ended() -> None:
        while not ended.wait(every_s):
            act()

    thread = threading.Thread(target=act_until_ended, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def shown_bar(title: str, total: int) -> Generator[Bar]:
    """Show a bar of its own, or within the one that is shown."""
    if Shown.live is not None:
        with shown_last(title, total, Shown.live) as bar:
            yield bar
        return
    if not clears_lines():
        bar = Bar(title, total, None)
        with repeated(bar.say_if_due, every_s=INTERVAL_S / 3):  # also where a single step takes long
            yield bar
        return
    with one_line_display() as live:
        Shown.live = live
        try:
            with shown_last(title, total, live) as bar:
                yield bar
        finally:
            Shown.live = None


def one_line_display() -> "Progress":
    """Return a display of one line, which is made to fit and never wraps, since other lines count on one line."""
    from rich.console import Console  # here, since only a terminal needs it
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    console = Console(stderr=True)

    class Line(ProgressColumn):
        """The whole line."""

        def render(self, task: Task) -> Text:
            figures: Sequence[str] = task.fields["figures"]
            count, left = f"{int(task.completed)}/{int(task.total or 0)}", time_left(task.time_remaining)
            title, bar, rest = fitted_line(task.description, count, figures, left, width=console.width)
            done = round(len(bar) * min(1.0, task.completed / (task.total or 1)))
            return Text.assemble(
                (f"{title} ", ""), (bar[:done], "bar.complete"), (bar[done:], "bar.back"), (rest, ""), overflow="crop",
                no_wrap=True,
            )  # fmt: skip

    return Progress(Line(), console=console, transient=True)


def fitted_line(
    title: str, count: str, figures: Sequence[str], left: str, *, width: int
) -> tuple[str, str, str]:  # fmt: skip
    """Return a line's title, its bar and the rest, at most `width` letters in all with a space after the title.

    What is wanted least goes first: the bar, then spaces, the end of the title, and at last figures from the end.
    """
    bar, wide = "━" * BAR_WIDTH, "  ".join(figures)
    short = title if len(title) <= SHORT_TITLE else f"{title[: SHORT_TITLE - 1]}…"
    tries = [(title, bar, f" {count} {wide} {left} left"), (title, "", f"{count} {wide} {left} left")]
    for name in (title, short):
        tries.append((name, "", " ".join([count, *figures, left])))
    tries += [(short, "", " ".join([count, *figures[:number], left])) for number in range(len(figures) - 1, -1, -1)]
    fits = (one for one in tries if len(one[0]) + 1 + len(one[1]) + len(one[2]) <= width)
    name, drawn, rest = next(fits, tries[-1])
    return name, drawn, rest[: max(0, width - len(name) - 1 - len(drawn))]


def time_left(seconds: float | None) -> str:
    """Return a time as minutes and seconds, with hours where there are any; dashes while it is not known."""
    if seconds is None:
        return "-:--"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def shown_last(title: str, total: int, live: "Progress") -> Generator[Bar]:
    """Show a bar in place of the one that it is within, for the block."""
    outer = Shown.bars[-1].task if Shown.bars else None
    if outer is not None:
        live.update(outer, visible=False)
    bar = Bar(title, total, live)
    assert bar.task is not None
    Shown.bars.append(bar)
    try:
        yield bar
    finally:
        Shown.bars.remove(bar)
        live.remove_task(bar.task)
        if outer is not None:
            live.update(outer, visible=True)
