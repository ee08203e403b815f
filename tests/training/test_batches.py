import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.training.batches import Rows, num_batches, ordered_batches, training_batches


def rows_of(lengths: list[int]) -> Rows:
    return Rows(
        row=np.arange(len(lengths)),
        input_ids=[np.full(length, i + 1, dtype=np.int32) for i, length in enumerate(lengths)],
        label_id=np.arange(len(lengths)) % 2,
    )


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=200), batch_size=st.integers(1, 16))
def test_every_row_comes_once_an_epoch(lengths: list[int], batch_size: int) -> None:
    rows = rows_of(lengths)
    batches = list(training_batches(rows, batch_size=batch_size, pad_token_id=0, seed=0, epoch=0))
    assert len(batches) == num_batches(len(rows), batch_size=batch_size)
    assert sorted(np.concatenate([batch.row for batch in batches])) == list(range(len(lengths)))


def test_padding_is_masked_and_labels_stay_with_their_rows() -> None:
    for batch in training_batches(rows_of([3, 5, 4, 1, 2]), batch_size=2, pad_token_id=0, seed=0, epoch=0):
        for row, ids, mask, label in zip(batch.row, batch.input_ids, batch.attention_mask, batch.label_id, strict=True):
            assert ids[mask == 1].unique().tolist() == [row + 1]
            assert ids[mask == 0].sum() == 0
            assert label == row % 2


def test_order_depends_on_seed_and_epoch_alone() -> None:
    rows = rows_of([1 + i % 7 for i in range(50)])

    def order(seed: int, epoch: int) -> list[int]:
        batches = training_batches(rows, batch_size=4, pad_token_id=0, seed=seed, epoch=epoch)
        return [int(row) for batch in batches for row in batch.row]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_start_skips_the_batches_that_are_done() -> None:
    rows = rows_of([1 + i % 7 for i in range(50)])
    whole = list(training_batches(rows, batch_size=4, pad_token_id=0, seed=0, epoch=3))
    rest = list(training_batches(rows, batch_size=4, pad_token_id=0, seed=0, epoch=3, start=5))
    assert [batch.row.tolist() for batch in rest] == [batch.row.tolist() for batch in whole[5:]]


def test_batches_of_like_lengths_hold_little_padding() -> None:
    rows = rows_of(np.random.default_rng(0).integers(5, 60, size=1000).tolist())
    batches = list(training_batches(rows, batch_size=16, pad_token_id=0, seed=0, epoch=0))
    padding = sum(int((batch.attention_mask == 0).sum()) for batch in batches)
    assert padding / sum(batch.input_ids.numel() for batch in batches) < 0.11, "that of LENGTH_STEP alone is 0.1"


def test_measuring_sees_every_row_once() -> None:
    batches = list(ordered_batches(rows_of([4, 1, 3, 2, 5]), batch_size=2, pad_token_id=0))
    assert [batch.row.tolist() for batch in batches] == [[1, 3], [2, 0], [4]]


def test_rows_are_padded_to_few_lengths_but_never_beyond_the_longest() -> None:
    rows = rows_of([number % 21 + 1 for number in range(84)])
    batches = list(training_batches(rows, batch_size=4, pad_token_id=0, seed=0, epoch=0))
    assert {batch.input_ids.shape[1] for batch in batches} == {8, 16, 21}
    finer = training_batches(rows, batch_size=4, pad_token_id=0, seed=0, epoch=0, multiple=3)
    for whole, batch in zip(batches, finer, strict=True):
        longest = int(batch.attention_mask.sum(dim=1).max())
        assert batch.row.tolist() == whole.row.tolist()
        assert longest <= batch.input_ids.shape[1] < longest + 3
        (part,) = batch.parts(4)
        assert part.input_ids.shape == batch.input_ids.shape
