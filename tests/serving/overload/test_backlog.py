import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from serving.overload.backlog import Backlog, Overdue, Reply


class Slow:
    """Computes a number by waiting that many milliseconds."""

    warm_up = 10

    def __init__(self) -> None:
        self.computed: list[tuple[str, int]] = []
        self.slower = 1.0

    def weight(self, row: int) -> float:
        return float(row)

    def compute(self, row: int) -> int:
        if row < 0:
            raise ValueError("a secret text")
        time.sleep(self.slower * row / 1000)
        self.computed.append((threading.current_thread().name, row))
        return row

    def reply(self, results: Sequence[int]) -> Reply:
        return Reply(repr(list(results)).encode())


def started(*, threads: int, max_latency_ms: int) -> tuple[Backlog, Slow]:
    backlog, model = Backlog(threads=threads, max_latency_ms=max_latency_ms), Slow()
    backlog.start(model)
    model.computed.clear()
    return backlog, model


def run(ask: Callable[[], Any]) -> Any:
    return asyncio.run(ask())


def test_rows_of_a_request_are_shared_out_and_come_back_in_their_order() -> None:
    backlog, model = started(threads=2, max_latency_ms=1000)

    async def ask() -> bytes:
        reply = backlog.offer([30, 10, 20, 5])
        assert reply is not None
        return (await reply).body

    assert run(ask) == b"[30, 10, 20, 5]"
    assert len({name for name, _ in model.computed}) == 2


def test_what_would_wait_too_long_is_refused_at_once_and_taken_when_the_queue_is_gone() -> None:
    backlog, _ = started(threads=1, max_latency_ms=500)

    async def ask() -> None:
        begun = time.perf_counter()
        replies = [backlog.offer([20]) for _ in range(40)]
        assert time.perf_counter() - begun < 0.2
        taken = [reply for reply in replies if reply is not None]
        assert 2 <= len(taken) <= 11  # 200 ms of 20 each, or fewer where the machine is slower
        assert backlog.wait_s() > 0
        await asyncio.gather(*taken)
        assert backlog.weight_left == 0
        assert not backlog.is_full()
        assert backlog.offer([20]) is not None

    run(ask)


def test_time_before_a_request_is_read_counts_as_waiting() -> None:
    backlog, _ = started(threads=1, max_latency_ms=500)

    async def ask() -> None:
        backlog.lag.start()
        await asyncio.sleep(0.2)
        time.sleep(0.4)  # the loop reads nothing meanwhile
        reply = backlog.offer([1])  # which may have been a hiccup
        assert reply is not None
        await reply
        time.sleep(0.4)
        assert backlog.wait_s() > 0.6
        assert backlog.offer([1]) is None
        for _ in range(100):
            await asyncio.sleep(0.05)
            if reply := backlog.offer([1]):
                break
        assert reply is not None
        await reply

    run(ask)


def test_request_that_finds_nobody_before_it_is_taken_however_long() -> None:
    backlog, model = started(threads=2, max_latency_ms=40)
    model.slower = 3.0

    async def ask() -> bytes:
        reply = backlog.offer([20] * 8)
        assert reply is not None
        assert backlog.is_full()
        return (await reply).body

    assert run(ask) == repr([20] * 8).encode()


def test_bound_follows_how_fast_the_machine_is() -> None:
    backlog, model = started(threads=1, max_latency_ms=1000)
    before = backlog.unit_s
    model.slower = 5.0

    async def ask() -> None:
        for _ in range(60):
            reply = backlog.offer([2])
            assert reply is not None
            await reply

    run(ask)
    assert backlog.unit_s > 2.5 * before


def test_accepted_request_whose_time_is_over_is_not_computed() -> None:
    backlog, model = started(threads=1, max_latency_ms=100)
    model.slower = 20.0

    async def ask() -> list[Any]:
        replies = [backlog.offer([10]) for _ in range(4)]
        return await asyncio.gather(*[reply for reply in replies if reply is not None], return_exceptions=True)

    found = run(ask)
    assert any(isinstance(reply, Overdue) for reply in found)
    assert len(model.computed) == sum(isinstance(reply, Reply) for reply in found) < 4


def test_error_of_one_request_is_its_own() -> None:
    backlog, _ = started(threads=2, max_latency_ms=1000)

    async def ask() -> None:
        bad, good = backlog.offer([-1, 5]), backlog.offer([5])
        assert bad is not None
        assert good is not None
        with pytest.raises(ValueError, match="secret"):
            await bad
        assert (await good).body == b"[5]"

    run(ask)
