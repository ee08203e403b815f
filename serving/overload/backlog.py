"""The queue of accepted requests, no longer than can be worked off in time, and the threads that compute them.

A request is rows; each thread takes the next ones, whatever requests they belong to, so that all threads share a large
request and the rows of a small one wait for no whole one. It takes several where the model gives each row the answer
that it gets alone, as far as they take SHARE_OF_CALL of the longest latency: of longer ones a batch gains nothing, and
keeps others waiting.

A request is refused at once by the time that the queue would take: its weight, times the seconds that a unit of weight
took lately. The mean is of the wall clock, so it follows what else the machine does. The time that requests wait before
they are read, which is as long as the event loop is late, counts as well. The bound is time, not a number of requests:
a queue that is longer than clients wait only computes answers for nobody (Nichols and Jacobson, "Controlling Queue
Delay", 2012).

A request that takes more than half of that time by itself would find room only where nobody waits, and another client
takes that moment again and again. Such large requests stand in a line of their own: each is computed to its end, and
waits no longer than MAX_TURNS times what it takes itself.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from serving.overload.lateness import Lateness
from serving.overload.turns import LINE_SHARE, Turns

SHARE_OF_LATENCY = 0.4  # of max_latency_ms that a request may be expected to wait; the rest is for the unexpected
LARGE = 1 / 2  # of the longest queue: a request that takes longer by itself stands in the line
MAX_TURNS = 8
LATEST = 0.05  # how much the latest row counts in the mean: it follows within some twenty rows
SHARE_OF_CALL = 0.1  # of max_latency_ms that a call of several rows may be expected to take
NUM_TIMED = 3  # rows before the first request, the first of which is slower than any other


class Model(Protocol):
    """A model that computes the rows of requests, on several threads at once."""

    @property
    def warm_up(self) -> Any:
        """The row that is computed before the first request."""
        ...

    @property
    def batch_size(self) -> int:
        """The most rows that are computed at once."""
        ...

    def weight(self, row: Any, /) -> float:
        """Return the time that a row takes, in any unit; only ratios count."""
        ...

    def compute(self, rows: Sequence[Any], /) -> Sequence[Any]:
        """Return each row's part of the answer; it does not depend on the other rows."""
        ...

    def reply(self, results: Sequence[Any], /) -> "Reply":
        """Return the whole answer to a request, from the results of its rows in order."""
        ...


@dataclass(frozen=True)
class Reply:
    """The body and media type of an answer."""

    body: bytes
    media_type: bytes = b"application/json"


MakeReply = Callable[[Sequence[Any]], Reply]
"""A function of the results of a request's rows, in order, that returns the whole answer."""


class Overdue(Exception):
    """The error of an accepted request whose time was over before it was computed: the machine had slowed down
    meanwhile."""


@dataclass(frozen=True)
class Full:
    """The refusal of a request whose answer would take too long: the seconds after which to ask again."""

    again_s: float


@dataclass(eq=False)
class Job:
    """An accepted request whose rows are not all computed yet."""

    rows: Sequence[Any]
    results: list[Any]
    num_left: int
    deadline: float
    loop: asyncio.AbstractEventLoop
    reply: "asyncio.Future[Reply]"
    make_reply: "MakeReply"
    in_line: bool = False
    error: Exception | None = field(default=None)


class Backlog:
    """The queue of accepted rows and the threads that compute them.

    It is made when the service is described, and started by the process that serves.
    """

    def __init__(self, *, threads: int, max_latency_ms: int) -> None:
        self.threads, self.max_latency_s = threads, max_latency_ms / 1000
        self.max_wait_s = self.max_latency_s * SHARE_OF_LATENCY
        self.max_call_s = self.max_latency_s * SHARE_OF_CALL
        self.lateness = Lateness()
        self.turns: Turns[tuple[Job, int]] = Turns(threads=threads)
        self.lock = threading.Lock()
        self.small_left = self.line_left = 0.0
        """The weight of the accepted rows that are not computed yet."""
        self.unit_s = 0.0
        self.model: Model | None = None

    def start(self, model: Model) -> None:
        """Compute the warm-up row to time it, then start the threads that wait for rows."""
        weight = model.weight(model.warm_up)
        for _ in range(NUM_TIMED):
            started = time.perf_counter()
            model.reply(model.compute([model.warm_up]))
            self.unit_s = (time.perf_counter() - started) / weight
        self.model = model
        for number in range(self.threads):
            threading.Thread(target=self.work, args=(model,), name=f"backlog-{number}", daemon=True).start()

    def wait_s(self) -> float:
        """Return the seconds that a small request is expected to wait from now: to be read, for its turn, and for its
        answer to be sent."""
        share = 1 - LINE_SHARE if self.line_left > 0 else 1.0
        return 2 * self.lateness.seconds + self.seconds(self.small_left) / share

    def line_s(self) -> float:
        """Return the seconds that a large request is expected to wait from now."""
        share = LINE_SHARE if self.small_left > 0 else 1.0
        return 2 * self.lateness.seconds + self.seconds(self.line_left) / share

    def seconds(self, weight: float) -> float:
        """Return the seconds that all threads together need for a weight."""
        return weight * self.unit_s / self.threads

    def is_full(self) -> bool:
        """Return whether every request would be refused now."""
        return self.wait_s() > self.max_wait_s

    def offer(self, rows: Sequence[Any], make_reply: MakeReply | None = None) -> "asyncio.Future[Reply] | Full":
        """Take a request; return the future of its reply, or Full where its answer would take too long.

        `make_reply` is the model's `reply` unless given. The future belongs to the event loop that asks; it has the
        Reply, or the error: Overdue, or the model's own. Where nobody waits for it any more, cancel it. Raise
        RuntimeError where `start` has not been called.
        """
        if self.model is None:
            raise RuntimeError("the backlog has no model yet; start() comes first")
        weights = [self.model.weight(row) for row in rows]
        weight = sum(weights)
        own_s = self.seconds(weight)
        in_line = own_s > LARGE * self.max_wait_s
        if in_line:
            if self.seconds(self.line_left) >= MAX_TURNS * own_s or 2 * self.lateness.seconds > self.max_wait_s:
                return Full(self.line_s())
        # With nobody before it, it would find no better moment, unless the event loop is late.
        elif self.wait_s() + own_s * (self.small_left > 0) > self.max_wait_s:
            return Full(self.wait_s())
        loop = asyncio.get_running_loop()
        # A large one is computed to its end: asked again, it would find no better moment.
        deadline = math.inf if in_line else time.monotonic() + self.max_latency_s
        make_reply = make_reply or self.model.reply
        job = Job(rows, [None] * len(rows), len(rows), deadline, loop, loop.create_future(), make_reply, in_line)
        with self.lock:
            self.count(job, weight)
        self.turns.put((((job, index), weight) for index, weight in enumerate(weights)), in_line=in_line)
        return job.reply

    def count(self, job: Job, weight: float) -> None:
        """Add to the weight that is left; sums of floats leave no rest below 0."""
        if job.in_line:
            self.line_left = max(0.0, self.line_left + weight)
        else:
            self.small_left = max(0.0, self.small_left + weight)

    def work(self, model: Model) -> None:
        """Compute the next rows, again and again, without end."""
        while True:
            taken = self.turns.take(model.batch_size, most_weight=self.max_call_s / self.unit_s)
            started = time.perf_counter()
            wanted = [(job, index, weight) for (job, index), weight in taken if self.is_wanted(job)]
            found = results_of(model, [job.rows[index] for job, index, _ in wanted])
            for (job, index, _), result in zip(wanted, found, strict=True):
                if isinstance(result, Exception):
                    job.error = result
                job.results[index] = result
            took_s = time.perf_counter() - started
            with self.lock:
                if wanted:
                    self.count_time(took_s, num_rows=len(wanted), weight=sum(weight for *_, weight in wanted))
                done = [job for (job, _), weight in taken if self.is_done(job, weight)]
            hand_over(done)

    def count_time(self, took_s: float, *, num_rows: int, weight: float) -> None:
        """Let the mean of the seconds of a unit of weight follow what rows took together, as if each had come alone."""
        self.unit_s += (1 - (1 - LATEST) ** num_rows) * (took_s / weight - self.unit_s)

    def is_done(self, job: Job, weight: float) -> bool:
        """Take a row off what is left of a job; return whether it was the last one."""
        self.count(job, -weight)
        job.num_left -= 1
        return job.num_left == 0

    def is_wanted(self, job: Job) -> bool:
        """Return whether computing another row of a job is of use; a job past its deadline gets the error Overdue."""
        if job.error is None and time.monotonic() > job.deadline:
            job.error = Overdue()
        return job.error is None and not job.reply.cancelled()


def results_of(model: Model, rows: Sequence[Any]) -> Sequence[Any]:
    """Return the result of each row, or the error in its place: rows that fail together are computed one by one."""
    try:
        return model.compute(rows) if rows else ()
    except Exception as error:
        return [error] if len(rows) == 1 else [result for row in rows for result in results_of(model, [row])]


def hand_over(jobs: Sequence[Job]) -> None:
    """Give each job's reply, or its error, to the event loop that waits for it, which is woken once."""
    replies: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Reply], Reply | Exception]]] = {}
    for job in jobs:
        replies.setdefault(job.loop, []).append((job.reply, reply_of(job)))
    for loop, settled in replies.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, settled)


def reply_of(job: Job) -> Reply | Exception:
    """Return the whole answer to a request whose rows are all computed, or its error."""
    if job.error is not None:
        return job.error
    try:
        return job.make_reply(job.results)
    except Exception as error:
        return error


def settle(replies: Iterable[tuple["asyncio.Future[Reply]", Reply | Exception]]) -> None:
    for future, reply in replies:
        if future.done():  # the client went away
            continue
        set_: Callable[[Any], None] = future.set_exception if isinstance(reply, Exception) else future.set_result
        set_(reply)
