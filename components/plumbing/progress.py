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
from collections.abc import Callable, Generator, Mapping
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
DRAWN_PER_S = 2
"""How often the line is drawn: rich's ten times a second take 1 % of the time of two busy cores."""
BAR_WIDTH = 10
SHORT_TITLE = 9
"""The letters that are left of a title where the line is too long."""


Figure = float | tuple[float, ...]
"""A figure beside a bar: one value, or one of each of several that work in turns."""


class Bar:
    """A count of steps of a known number; `update` may carry figures that are shown beside the bar."""

    def __init__(self, title: str, total: int, live: "Progress | None", *, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self._live, self._first = live, done
        self.task: TaskID | None = live.add_task(title, total=total, completed=done, figures={}) if live else None
        self._started = time.monotonic()
        self._text = ""
        self.leave()

    def update(self, done: int, figures: Mapping[str, Figure] = MappingProxyType({})) -> None:
        """Set the number of steps that are done, and the figures beside the bar."""
        self.done = done
        self._text = "  ".join(in_words(figures))
        self.leave()
        if self._live is not None and self.task is not None:
            self._live.update(self.task, completed=done, figures=figures)
            return
        self.say_if_due()

    def say_if_due(self) -> None:
        """Log a line, where no bar of this process has logged one for an interval."""
        now = time.monotonic()
        if now - Shown.spoke >= INTERVAL_S and now - self._started >= TICK_S:
            Shown.spoke = now
            newly = self.done - self._first
            left_s = (now - self._started) / newly * (self.total - self.done) if newly > 0 else None
            logger.info("%s %d/%d  %s  %s left", self.title, self.done, self.total, self._text, time_left(left_s))

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


class UnseenBar(Bar):
    """The bar of work that another process shows."""

    def __init__(self) -> None:
        self.done = 0

    def update(self, done: int, figures: object = None) -> None:
        self.done = done

    def milestone(self, text: str) -> None:
        pass

    def leave(self, *, at_once: bool = False) -> None:
        pass


class Shown:
    """The display of this process: the open bars, each within the one before; the last is the one that is seen."""

    live: "Progress | None" = None
    bars: list[Bar] = []  # noqa: RUF012  (one for the process, which has one terminal)
    milestones: list[str] = []  # noqa: RUF012
    spoke: float = time.monotonic()
    """The time, by that clock, of the last line of a bar: several short ones in a row are not silent, either."""
    left: float = -LEAVE_EVERY_S
    """The time, by the monotonic clock, when the progress was last left in the file."""


def in_words(figures: Mapping[str, Figure], *, is_brief: bool = False) -> list[str]:
    """Return each figure with its name."""
    told: list[str] = []
    for name, value in figures.items():
        values = value if isinstance(value, tuple) else (value,)
        told.append(f"{name} {'/'.join(shown(name, one, is_brief=is_brief) for one in values)}")
    return told


def shown(name: str, value: float, *, is_brief: bool = False) -> str:
    """Return a figure with three digits, and without an exponent from 100 on; a share as a percentage.

    Where it is to be brief, with two digits, and thousands as k.
    """
    if name in SHARES:
        return f"{value:.0%}"
    if not is_brief or value < 1000:
        return f"{value:,.0f}" if value >= 100 else f"{value:.{2 if is_brief else 3}g}"
    power = min(3, math.floor(math.log10(value) / 3)) if math.isfinite(value) else 0
    value /= 1000**power
    return f"{value:.{1 if value < 10 else 0}f}{('', 'k', 'M', 'G')[power]}"


def live_console() -> "Console | None":
    """Return the console to write to while a bar is shown, so that the bar stays below; None without one."""
    return Shown.live.console if Shown.live is not None else None


@contextmanager
def progress(title: str, *, total: int, done: int = 0) -> Generator[Bar]:
    """Show a bar for `total` steps of work on standard error, for the block; `done` of them were done before."""
    with shown_bar(title, total, done) as bar:
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
def shown_bar(title: str, total: int, done: int) -> Generator[Bar]:
    """Show a bar of its own, or within the one that is shown."""
    if Shown.live is not None:
        with shown_last(title, total, Shown.live, done=done) as bar:
            yield bar
        return
    if not clears_lines():
        bar = Bar(title, total, None, done=done)
        with repeated(bar.say_if_due, every_s=INTERVAL_S / 3):  # also where a single step takes long
            yield bar
        return
    with one_line_display() as live:
        Shown.live = live
        try:
            with shown_last(title, total, live, done=done) as bar:
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
            figures: Mapping[str, Figure] = task.fields["figures"]
            count, left = f"{int(task.completed)}/{int(task.total or 0)}", time_left(task.time_remaining)
            title, bar, rest = fitted_line(task.description, count, figures, left, width=console.width)
            done = round(len(bar) * min(1.0, task.completed / (task.total or 1)))
            parts = [(f"{title} " if title else "", ""), (bar[:done], "bar.complete"), (bar[done:], "bar.back")]
            return Text.assemble(*parts, (rest, ""), overflow="crop", no_wrap=True)

    return Progress(Line(), console=console, transient=True, refresh_per_second=DRAWN_PER_S)


def fitted_line(
    title: str, count: str, figures: Mapping[str, Figure], left: str, *, width: int
) -> tuple[str, str, str]:  # fmt: skip
    """Return a line's title, its bar and the rest, at most `width` letters in all with a space after the title.

    What is wanted least goes first: the bar, then spaces, the end of the title, all of it, digits, and at last figures
    from the end.
    """
    bar, full, brief = "━" * BAR_WIDTH, in_words(figures), in_words(figures, is_brief=True)
    short = title if len(title) <= SHORT_TITLE else f"{title[: SHORT_TITLE - 1]}…"
    wide = "  ".join(full)
    tries = [(title, bar, f" {count} {wide} {left} left"), (title, "", f"{count} {wide} {left} left")]
    tries += [(name, "", " ".join([count, *full, left])) for name in (title, short, "")]
    tries += [("", "", " ".join([count, *brief[:number], left])) for number in range(len(brief), -1, -1)]

    def length(one: tuple[str, str, str]) -> int:
        return sum(map(len, one)) + (1 if one[0] else 0)

    name, drawn, rest = next((one for one in tries if length(one) <= width), tries[-1])
    return name, drawn, rest[:width]


def time_left(seconds: float | None) -> str:
    """Return a time as minutes and seconds, with hours where there are any; dashes while it is not known."""
    if seconds is None:
        return "-:--"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def shown_last(title: str, total: int, live: "Progress", *, done: int) -> Generator[Bar]:
    """Show a bar in place of the one that it is within, for the block."""
    outer = Shown.bars[-1].task if Shown.bars else None
    if outer is not None:
        live.update(outer, visible=False)
    bar = Bar(title, total, live, done=done)
    assert bar.task is not None
    Shown.bars.append(bar)
    try:
        yield bar
    finally:
        Shown.bars.remove(bar)
        live.remove_task(bar.task)
        if outer is not None:
            live.update(outer, visible=True)
