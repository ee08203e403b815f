from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from components.monitoring.arrays import ArrayInputs
from components.monitoring.learned import Learned, add_rows
from components.monitoring.texts import TextInputs
from components.monitoring.windows import Row
from components.params import Contract
from components.plumbing.errors import SourceError

START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
SHARED = {
    "num_rows": {"min": 1, "max": None}, "max_null_share": 0.0, "max_duplicate_share": 0.0, "max_conflict_share": 0.0,
    "min_class_share": 0.0,
}  # fmt: skip
TEXTS = Contract.model_validate(
    {
        "columns": {"text": "string", "label": "string"}, "text_length": {"min": 1, "max": 1200},
        "labels": ("negative", "positive"), **SHARED,
    }
)  # fmt: skip
ARRAYS = Contract.model_validate(
    {
        "columns": {"values": "array", "label": "string"}, "values": {"length": 4, "min": 0.0, "max": 9.0},
        "labels": ("3", "7"), **SHARED,
    }
)  # fmt: skip


def row(number: int, actual: str | None, *, input: object = "", item: int = 0, after: int = 0) -> Row:
    """An answer, by default on a text of its own, and what was told of it so many seconds after."""
    time = START + timedelta(seconds=number)
    told = time + timedelta(seconds=after) if actual else None
    asked = f"film {number} {item}" if input == "" else input
    return Row(f"r{number}", item, time, asked, 6, {"label": "positive"}, actual, told)


def learn(path: Path, *rows: Row) -> Learned:
    return add_rows(path, rows, kind=TextInputs(), contract=TEXTS, version="v1")


def labels(path: Path) -> dict[str, str]:
    table = pq.read_table(path)
    return dict(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


def test_file_that_dvc_knows_of_and_is_not_here_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "feedback.parquet.dvc").touch()
    with pytest.raises(SourceError, match=r"feedback.parquet is not here, though feedback.parquet.dvc is"):
        learn(tmp_path / "feedback.parquet", row(1, "positive"))
    assert not (tmp_path / "feedback.parquet").exists()


def test_only_rows_with_feedback_and_input_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "data" / "feedback.parquet"
    rows = [row(2, "negative"), row(1, "positive"), row(3, None), row(4, "negative", input=None)]
    assert learn(path, *rows) == Learned(num_new=2, num_rows=2, left_out="")
    table = pq.read_table(path)
    assert table.column_names == ["text", "label", "request_id", "item", "time", "version", "predicted"]
    assert table["request_id"].to_pylist() == ["r1", "r2"]
    assert table["label"].to_pylist() == ["positive", "negative"]


def test_the_same_rows_are_added_once_and_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    rows = [row(1, "positive"), row(2, "negative"), row(2, "negative", item=1)]
    assert learn(path, *rows).num_new == 3
    before = path.read_bytes()
    asked_again = row(9, "negative", input="film 2 0")
    assert learn(path, *rows, asked_again).num_new == 0
    assert path.read_bytes() == before
    learn(tmp_path / "other.parquet", *rows[::-1])
    assert (tmp_path / "other.parquet").read_bytes() == before
    assert learn(path, row(2, "positive", after=1), row(5, "negative")) == Learned(num_new=2, num_rows=4, left_out="")
    assert sorted(pq.read_table(path)["label"].to_pylist()) == ["negative", "negative", "positive", "positive"]


def test_the_last_word_on_a_text_counts_whoever_says_it(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    said_last = row(1, "positive", input="a film", after=60)
    assert learn(path, said_last, row(2, "negative", input=" a film\n")).num_rows == 1
    assert labels(path) == {"a film": "positive"}
    assert learn(path, row(3, "negative", input="a film", after=90)) == Learned(num_new=1, num_rows=1, left_out="")
    assert labels(path) == {"a film": "negative"}
    assert learn(path, said_last).num_new == 0
    assert labels(path) == {"a film": "negative"}


def test_what_the_contract_does_not_allow_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    long = [row(number, "positive", input=f"{number}" + "x" * 1200) for number in (1, 2)]
    found = learn(path, *long, row(3, "negative", input=" \t"), row(4, "mixed"), row(5, "negative", input="y" * 1200))
    assert found == Learned(
        num_new=1, num_rows=1,
        left_out="4 of 5 rows with feedback are left out: 2 longer than the contract's 1,200 characters, 1 empty, "
        "1 not of the contract's labels",
    )  # fmt: skip
    assert labels(path) == {"y" * 1200: "negative"}


def test_what_was_learned_before_keeps_to_the_contract_too(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    wide = TEXTS.model_copy(update={"text_length": None})
    rows = [row(1, "positive", input="x" * 2000), row(2, "negative")]
    assert add_rows(path, rows, kind=TextInputs(), contract=wide, version="v1").num_rows == 2
    assert learn(path).left_out.startswith("1 of 2 rows with feedback are left out: 1 longer")
    assert labels(path) == {"film 2 0": "negative"}


def test_arrays_are_kept_flat_and_within_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"

    def learn_arrays() -> Learned:
        inputs: list[Any] = [[[1, 2], [3, 4.1]], [[1, 2], [3, 4.1]], [1, 2, 3], [0, 0, 0, 10]]
        rows = [row(number, "7", input=values) for number, values in enumerate(inputs)]
        return add_rows(path, rows, kind=ArrayInputs(), contract=ARRAYS, version="v1")

    assert learn_arrays() == Learned(
        num_new=1, num_rows=1,
        left_out="2 of 3 rows with feedback are left out: 1 not of the contract's 4 numbers, 1 with numbers beyond the "
        "contract's 0 to 9",
    )  # fmt: skip
    assert pq.read_table(path)["values"].to_pylist() == [pytest.approx([1.0, 2.0, 3.0, 4.1])]
    assert learn_arrays().num_new == 0


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_file_that_is_cut_off_is_named_with_what_brings_it_back(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "feedback.parquet"
    learn(path, row(1, "positive"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"feedback.parquet cannot be read \(.*'dvc checkout --force .*' brings"):
        learn(path, row(2, "positive"))


def test_file_with_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    add_rows(path, [row(1, "7", input=[1, 2, 3, 4])], kind=ArrayInputs(), contract=ARRAYS, version="v1")
    with pytest.raises(SourceError, match="cannot be read"):
        learn(path, row(2, "positive"))
