import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from serving.overload.backlog import Backlog, Full, Overdue, Reply
from tests.patience import PATIENCE_S, wait_until


class Slow:
    """Computes numbers by waiting that many milliseconds."""

    warm_up = 10

    def __init__(self, *, batch_size: int) -> None:
        self.batch_size = batch_size
        self.computed: list[tuple[str, int]] = []
        self.calls: list[list[int]] = []
        self.begun: list[list[int]] = []
        self.slower = 1.0

    def weight(self, row: int) -> float:
        return float(row)

    def compute(self, rows: Sequence[int]) -> Sequence[int]:
        if min(rows) < 0:
            raise ValueError("a secret text")
        time.sleep(self.slower * sum(rows) / 1000)
        self.calls.append([*rows])
        self.computed += [(threading.current_thread().name, row) for row in rows]
        return rows

    def reply(self, results: Sequence[int]) -> Reply:
        return Reply(repr(list(results)).encode())


def started(*, threads: int, max_latency_ms: int, batch_size: int = 1) -> tuple[Backlog, Slow]:
    backlog, model = Backlog(threads=threads, max_latency_ms=max_latency_ms), Slow(batch_size=batch_size)
    backlog.start(model)
    backlog.unit_s = 0.001  # as on a machine that is never late
    model.computed.clear()
    model.calls.clear()
    return backlog, model


def held(model: Slow, *, after: int = 0) -> threading.Event:
    """Have a model compute no more than so many calls until the event is set."""
    go, compute = threading.Event(), model.compute

    def wait(rows: Sequence[int]) -> Sequence[int]:
        model.begun.append([*rows])
        assert len(model.begun) <= after or go.wait(PATIENCE_S)
        return compute(rows)

    model.compute = wait
    return go


async def until(seen: Callable[[], object]) -> None:
    """wait_until for what an event loop does, too."""
    await asyncio.to_thread(wait_until, seen)


def run(ask: Callable[[], Any]) -> Any:
    return asyncio.run(ask())


def taken(backlog: Backlog, rows: Sequence[int]) -> "asyncio.Future[Reply]":
    reply = backlog.offer(rows)
    assert not isinstance(reply, Full)
    return reply


def test_rows_of_a_request_are_shared_out_and_come_back_in_their_order() -> None:
    backlog, model = started(threads=2, max_latency_ms=60_000)
    go = held(model)

    async def ask() -> bytes:
        reply = taken(backlog, [30, 10, 20, 5])
        await until(lambda: len(model.begun) == 2)
        go.set()
        return (await reply).body

    assert run(ask) == b"[30, 10, 20, 5]"
    assert len({name for name, _ in model.computed}) == 2


def test_what_would_wait_too_long_is_refused_at_once_and_taken_when_the_queue_is_gone() -> None:
    backlog, model = started(threads=1, max_latency_ms=50_000)
    model.slower = 0.01
    go = held(model)

    async def ask() -> None:
        replies = [backlog.offer([2000]) for _ in range(40)]
        waiting = [reply for reply in replies if not isinstance(reply, Full)]
        assert 10 <= len(waiting) <= 11  # 20 seconds of 2 each, and nothing is computed yet
        assert backlog.wait_s() > 0
        go.set()
        await asyncio.gather(*waiting)
        assert backlog.small_left == 0
        assert not backlog.is_full()
        await taken(backlog, [2000])

    run(ask)


def test_time_before_a_request_is_read_counts_as_waiting() -> None:
    backlog, _ = started(threads=1, max_latency_ms=1500)

    async def ask() -> None:
        backlog.lateness.start()
        await asyncio.sleep(0.2)
        time.sleep(0.4)  # the loop reads nothing meanwhile
        hiccup = backlog.offer([1])  # it may have been one
        if not isinstance(hiccup, Full):
            await hiccup
        time.sleep(0.4)
        assert backlog.wait_s() > 0.6
        reply = backlog.offer([1])
        assert isinstance(reply, Full)
        assert reply.again_s > 0.6
        give_up_at = time.monotonic() + PATIENCE_S
        while isinstance(reply := backlog.offer([1]), Full):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.05)
        await reply

    run(ask)


def test_large_requests_stand_in_a_line_and_each_is_computed_to_its_end() -> None:
    backlog, model = started(threads=1, max_latency_ms=40)
    go = held(model)

    async def ask() -> list[bytes]:
        replies = [taken(backlog, [20] * 8) for _ in range(8)]
        assert isinstance(backlog.offer([20] * 8), Full)  # it would wait for more than MAX_TURNS of its size
        assert not backlog.is_full()
        go.set()
        order: list[int] = []
        for number, reply in enumerate(replies):
            reply.add_done_callback(lambda _, number=number: order.append(number))
        bodies = [(await reply).body for reply in replies]
        assert order == list(range(8))
        return bodies

    assert run(ask) == [repr([20] * 8).encode()] * 8


def test_small_requests_and_the_line_do_not_keep_each_other_out() -> None:
    backlog, model = started(threads=1, max_latency_ms=2000)

    async def ask() -> tuple[float, float]:
        begun = time.perf_counter()
        large = taken(backlog, [21] * 40)
        alone_s, num_small = 0.021 * 40, 0
        while not large.done():
            assert time.perf_counter() - begun < PATIENCE_S, "the line gets nothing"
            found = backlog.offer([10])
            if isinstance(found, Full):
                await asyncio.sleep(0.002)
            else:
                num_small += 1
        took_s = time.perf_counter() - begun
        computed = [row for _, row in model.computed]
        first = computed[: len(computed) - computed[::-1].index(21)]
        share = 21 * first.count(21) / sum(first)
        assert num_small > 40
        return share, took_s / alone_s

    share, times = run(ask)
    assert 0.2 < share < 0.35
    assert times > 2.5


def test_large_request_that_nobody_waits_for_is_computed_no_further() -> None:
    backlog, model = started(threads=1, max_latency_ms=100)
    go = held(model, after=2)

    async def ask() -> None:
        left, next_one = taken(backlog, [30] * 20), taken(backlog, [31] * 3)
        await until(lambda: len(model.begun) == 3)
        left.cancel()
        go.set()
        await next_one

    run(ask)
    assert [row for _, row in model.computed] == [30] * 3 + [31] * 3
    assert backlog.line_left == 0


def test_bound_follows_how_fast_the_machine_is() -> None:
    backlog, model = started(threads=1, max_latency_ms=60_000)
    before = backlog.unit_s
    model.slower = 5.0

    async def ask() -> None:
        for _ in range(60):
            await taken(backlog, [2])

    run(ask)
    assert backlog.unit_s > 2.5 * before


def test_accepted_request_whose_time_is_over_is_not_computed() -> None:
    backlog, model = started(threads=1, max_latency_ms=100)
    model.slower = 20.0

    async def ask() -> list[Any]:
        replies = [backlog.offer([10]) for _ in range(4)]
        return await asyncio.gather(
            *[reply for reply in replies if not isinstance(reply, Full)], return_exceptions=True
        )

    found = run(ask)
    assert any(isinstance(reply, Overdue) for reply in found)
    assert len(model.computed) == sum(isinstance(reply, Reply) for reply in found) < 4


def test_error_of_one_request_is_its_own() -> None:
    backlog, _ = started(threads=2, max_latency_ms=60_000)

    async def ask() -> None:
        bad, good = taken(backlog, [-1, 5]), taken(backlog, [5])
        with pytest.raises(ValueError, match="secret"):
            await bad
        assert (await good).body == b"[5]"

    run(ask)


def test_waiting_rows_of_several_requests_are_computed_together() -> None:
    backlog, model = started(threads=1, max_latency_ms=60_000, batch_size=4)
    go = held(model)

    async def ask() -> list[bytes]:
        first = taken(backlog, [50])
        await until(lambda: model.begun)
        replies = [taken(backlog, rows) for rows in ([1, 2], [3], [4, 5, 6])]
        go.set()
        return [(await reply).body for reply in (first, *replies)]

    assert run(ask) == [b"[50]", b"[1, 2]", b"[3]", b"[4, 5, 6]"]
    assert model.calls == [[50], [1, 2, 3, 4], [5, 6]]
    assert backlog.small_left == 0


def test_rows_that_take_long_are_computed_one_by_one() -> None:
    backlog, model = started(threads=1, max_latency_ms=60_000, batch_size=8)
    model.slower = 0.01

    async def ask() -> None:
        await asyncio.gather(*(taken(backlog, [row]) for row in (3600, 3601, 3602)))

    run(ask)
    assert model.calls == [[3600], [3601], [3602]]


def test_error_of_a_row_is_that_of_its_request_alone_among_those_computed_together() -> None:
    backlog, model = started(threads=1, max_latency_ms=60_000, batch_size=8)
    go = held(model)

    async def ask() -> list[Any]:
        first = taken(backlog, [50])
        await until(lambda: model.begun)
        others = [taken(backlog, rows) for rows in ([5], [6, -1], [7])]
        go.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    good, bad, other = run(ask)
    assert (good.body, other.body) == (b"[5]", b"[7]")
    assert isinstance(bad, ValueError)
    assert model.calls == [[50], [5], [6], [7]]


def test_rows_that_nobody_waits_for_are_left_out_of_what_is_computed_together() -> None:
    backlog, model = started(threads=1, max_latency_ms=60_000, batch_size=8)
    go = held(model)

    async def ask() -> None:
        first = taken(backlog, [50])
        await until(lambda: model.begun)
        left, kept = taken(backlog, [5, 6]), taken(backlog, [7])
        left.cancel()
        go.set()
        await asyncio.gather(first, kept)

    run(ask)
    assert model.calls == [[50], [7]]
    assert backlog.small_left == 0


def test_time_of_a_row_is_its_share_of_a_call_and_follows_as_fast_as_row_by_row() -> None:
    backlog, _ = started(threads=1, max_latency_ms=1000, batch_size=8)
    backlog.unit_s = 1.0
    backlog.count_time(4.0, num_rows=4, weight=8.0)
    together, backlog.unit_s = backlog.unit_s, 1.0
    for _ in range(4):
        backlog.count_time(1.0, num_rows=1, weight=2.0)
    assert together == pytest.approx(backlog.unit_s)
    assert 0.5 < together < 1.0
