"""Splits come back from both kinds of file as they were written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.training.splits import Lists, Split, count_rows, count_values, read_rows, read_split, write_split

TEXTS = [[3, 4], [5], [6, 7, 8]]
ROW, LABEL_ID = np.array([7, 9, 11]), np.array([1, 0, 1], np.int32)


@pytest.fixture(params=["list", "large_list", "sliced", "safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "safetensors":
        lists = Lists(np.concatenate(TEXTS).astype(np.int32), np.array([0, 2, 3, 6], np.int32))
        write_split(tmp_path / "split.safetensors", Split({"row": ROW, "label_id": LABEL_ID}, {"input_ids": lists}))
        return tmp_path / "split.safetensors"
    kind = pa.large_list(pa.int32()) if request.param == "large_list" else pa.list_(pa.int32())
    table = pa.table({"row": ROW, "label_id": LABEL_ID, "input_ids": pa.array(TEXTS, kind), "other": ["a", "b", "c"]})
    size = 2 if request.param == "sliced" else None  # row groups that do not end where the split does
    pq.write_table(table, tmp_path / "split.parquet", row_group_size=size)
    return tmp_path / "split.parquet"


def test_a_split_comes_back(path: Path) -> None:
    split = read_split(path, ["input_ids", "label_id"])
    assert len(split) == 3
    assert np.array_equal(split.numbers["row"], ROW)
    assert split.numbers["label_id"].dtype == np.int32
    assert split.lists["input_ids"].lengths.tolist() == [2, 1, 3]
    assert [ids.tolist() for ids in read_rows(path).input_ids] == TEXTS
    assert set(split.numbers) == {"row", "label_id"}


def test_rows_and_values_are_counted_from_the_header_or_footer(path: Path) -> None:
    assert count_rows(path) == 3
    assert count_values(path, "input_ids") == 6
