import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.overload.turns import LINE_SHARE, Turns
from tests.patience import PATIENCE_S


def turns_of(
    small: Sequence[tuple[str, float]], *, line: Sequence[tuple[str, float]] = (), threads: int = 1
) -> Turns[str]:
    turns: Turns[str] = Turns(threads=threads)
    turns.put(small, in_line=False)
    turns.put(line, in_line=True)
    return turns


def rows(taken: list[tuple[str, float]]) -> str:
    return "".join(row for row, _ in taken)


def test_rows_are_taken_together_in_the_order_in_which_they_came() -> None:
    turns = turns_of([(row, 1.0) for row in "abcdefg"])
    assert [rows(turns.take(3)) for _ in range(3)] == ["abc", "def", "g"]


def test_thread_takes_its_share_of_what_waits_and_leaves_the_rest_to_the_others() -> None:
    turns = turns_of([(row, 1.0) for row in "abcdefgh"], threads=2)
    assert [rows(turns.take(8)) for _ in range(4)] == ["abcd", "ef", "g", "h"]


def test_rows_are_taken_together_as_far_as_they_weigh_little() -> None:
    turns = turns_of([("a", 9.0), ("b", 2.0), ("c", 2.0), ("d", 2.0), ("e", 9.0)])
    assert [rows(turns.take(8, most_weight=4.0)) for _ in range(4)] == ["a", "bc", "d", "e"]


def test_line_and_small_rows_are_never_taken_together_and_share_the_weight() -> None:
    turns = turns_of([("s", 1.0)] * 100, line=[("l", 1.0)] * 100)
    taken = [rows(turns.take(4)) for _ in range(20)]
    assert set(taken) == {"ssss", "llll"}
    assert taken.count("llll") / 20 == pytest.approx(LINE_SHARE, abs=0.05)


def test_row_that_waits_alone_is_taken_at_once() -> None:
    turns: Turns[str] = Turns(threads=2)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(turns.take, 8)
        time.sleep(0.05)
        assert not taken.done()
        turns.put([("a", 1.0)], in_line=False)
        assert rows(taken.result(timeout=PATIENCE_S)) == "a"
