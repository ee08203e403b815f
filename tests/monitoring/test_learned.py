from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from components.monitoring.learned import add_rows, num_rows
from components.monitoring.windows import Row


def row(number: int, actual: str | None, *, input: object = "a film", item: int = 0) -> Row:
    time = datetime(2026, 11, 22, 6, 0, number, tzinfo=UTC)
    return Row(f"r{number}", item, time, input, 6, {"label": "positive"}, actual)


def test_only_rows_with_feedback_and_input_are_kept(tmp_path: Path):
    path = tmp_path / "data" / "feedback.parquet"
    rows = [row(2, "negative"), row(1, "positive"), row(3, None), row(4, "negative", input=None)]
    assert add_rows(path, rows, task="text_classification", version="v1") == 2
    table = pq.read_table(path)
    assert table.column_names == ["text", "label", "request_id", "item", "time", "version", "predicted"]
    assert table["request_id"].to_pylist() == ["r1", "r2"]
    assert table["label"].to_pylist() == ["positive", "negative"]


def test_the_same_rows_are_added_once_and_give_the_same_bytes(tmp_path: Path):
    path = tmp_path / "feedback.parquet"
    rows = [row(1, "positive"), row(2, "negative"), row(2, "negative", item=1)]
    assert add_rows(path, rows, task="text_classification", version="v1") == 3
    before = path.read_bytes()
    assert add_rows(path, rows, task="text_classification", version="v1") == 0
    assert path.read_bytes() == before
    add_rows(tmp_path / "other.parquet", rows[::-1], task="text_classification", version="v1")
    assert (tmp_path / "other.parquet").read_bytes() == before
    assert add_rows(path, [row(2, "positive"), row(5, "negative")], task="text_classification", version="v1") == 2
    assert num_rows(path) == 4
    assert pq.read_table(path)["label"].to_pylist() == ["positive", "positive", "negative", "negative"]


def test_arrays_are_kept_flat(tmp_path: Path):
    path = tmp_path / "feedback.parquet"
    add_rows(path, [row(1, "7", input=[[1, 2], [3, 4.5]])], task="array_classification", version="v1")
    assert pq.read_table(path)["values"].to_pylist() == [[1.0, 2.0, 3.0, 4.5]]
