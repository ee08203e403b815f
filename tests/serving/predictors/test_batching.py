import threading

import pytest

from serving.predictors.batching import Workers, alike
from tests.patience import PATIENCE_S


def test_batches_hold_rows_of_like_lengths_the_longest_first() -> None:
    lengths = [5, 40, 6, 38, 7, 12, 39]
    assert alike(lengths, most=8, spare=8) == [[1, 6, 3], [5, 4, 2, 0]]
    assert alike(lengths, most=2, spare=8) == [[1, 6], [3], [5, 4], [2, 0]]
    assert alike(lengths, most=1, spare=8) == [[1], [6], [3], [5], [4], [2], [0]]
    assert alike([], most=8, spare=8) == []


def test_every_row_is_in_one_batch_that_pads_it_by_little() -> None:
    lengths = [(7 * number * number) % 97 for number in range(200)]
    batches = alike(lengths, most=8, spare=5)
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert all(lengths[batch[0]] - lengths[row] <= 5 for batch in batches for row in batch)


@pytest.mark.parametrize(
    ("num_rows", "most", "share"), [(100, 256, 50), (1000, 256, 256), (3, 8, 2), (1, 8, 1), (0, 8, 1)]
)
def test_every_thread_gets_a_share_of_few_rows(num_rows: int, most: int, share: int) -> None:
    assert Workers(2).share(num_rows, most=most) == share


def test_one_part_is_computed_where_it_is_asked() -> None:
    def where(_: int) -> int:
        return threading.get_ident()

    assert Workers(2).map(where, [1]) == [threading.get_ident()]


def test_parts_are_computed_on_all_threads_and_come_back_in_their_order() -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def wait(part: int) -> tuple[int, int]:
        if part < 2:
            both.wait()
        return part, threading.get_ident()

    found = Workers(2).map(wait, range(20))
    assert [part for part, _ in found] == list(range(20))
    assert len({thread for _, thread in found}) == 2


@pytest.mark.parametrize("bad", range(4))
def test_error_of_a_part_is_raised(bad: int) -> None:
    def fail(part: int) -> int:
        if part == bad:
            raise ValueError(f"part {part}")
        return part

    with pytest.raises(ValueError, match=f"part {bad}"):
        Workers(2).map(fail, range(4))
