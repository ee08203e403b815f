import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.params import SECTIONS
from components.plumbing.artifacts import read_json, sha256_of, write_json
from components.plumbing.errors import InputError, LeakageError
from components.preprocess import Inputs, Outputs, run
from components.preprocess.arrays import Report, check_leakage
from components.tasks import task_of
from components.tracking.tracker import NullTracker

SPLITS = ("train", "validation", "test")
LABELS = ["cross", "nought"]
SETTINGS: dict[str, Any] = {
    "task": "array_classification", "shape": [2, 3], "offset": 0.0, "scale": 255.0, "conflicts": "remove",
    "split": {"validation": 0.2, "test": 0.2, "seed": 0, "group": None},
}  # fmt: skip
FLOATS = pa.list_(pa.float32())


def random_rows(num_rows: int = 50) -> tuple[list[list[int]], list[str]]:
    values = np.random.default_rng(0).integers(0, 256, size=(num_rows, 6)).tolist()
    return values, [LABELS[number % 2] for number in range(num_rows)]


def prepare(
    folder: Path, values: Sequence[Any], labels: Sequence[str | None], kind: pa.DataType = FLOATS, *,
    names: Sequence[str] = LABELS, group: Sequence[str | None] | None = None, part: Sequence[str] | None = None,
    **settings: Any,
) -> Report:  # fmt: skip
    """Run the stage over these rows; what it writes lies in `folder`/out."""
    columns = {"values": pa.array(values, kind), "label": pa.array(labels, pa.string())}
    out = folder / "out"
    out.mkdir(parents=True)
    others = {name: column for name, column in (("group", group), ("part", part)) if column is not None}
    pq.write_table(pa.table(columns | others), folder / "data.parquet")
    write_json(folder / "verdict.json", {"labels": list(names)})
    paths = {name: out / f"{name}.parquet" for name in (*SPLITS, "unlabelled")}
    outputs = Outputs(**paths, predictor=out / "predictor", work=folder / "work", observations=out)
    inputs = Inputs(data=folder / "data.parquet", verdict=folder / "verdict.json", project=folder)
    given = SETTINGS | settings
    params = SECTIONS[given["task"]].preprocess.model_validate_json(json.dumps(given))
    return run(params, inputs, outputs, tracker=NullTracker(), prepare=task_of(given["task"]).preprocess)


def table_of(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / "out" / f"{name}.parquet")


def test_rows_are_split_class_by_class_with_their_numbers_as_they_came(tmp_path: Path) -> None:
    values, labels = random_rows()
    report = prepare(tmp_path, values, labels, pa.list_(pa.uint8()))
    assert (report.num_rows_out, report.num_train, report.num_validation, report.num_test) == (50, 30, 10, 10)
    assert (report.class_rows_min, report.class_rows_max, report.num_values) == (25, 25, 6)
    tables = {name: table_of(tmp_path, name) for name in SPLITS}
    for table in tables.values():
        assert table.schema.names == ["row", "label", "label_id", "values"]
        assert table.schema.field("values").type.value_type == pa.float32()
        assert table["values"].to_pylist() == [values[row] for row in table["row"].to_pylist()]
        assert table["label"].to_pylist() == [labels[row] for row in table["row"].to_pylist()]
        assert [LABELS[number] for number in table["label_id"].to_pylist()] == table["label"].to_pylist()
    assert sorted(row for table in tables.values() for row in table["row"].to_pylist()) == list(range(50))
    trained_on = np.array(tables["train"]["values"].to_pylist())
    assert (report.value_min, report.value_max) == (trained_on.min(), trained_on.max())
    assert report.value_mean == pytest.approx(trained_on.mean(), abs=1e-5)
    assert report.value_std == pytest.approx(trained_on.std(), abs=1e-5)
    assert table_of(tmp_path, "unlabelled").schema == tables["train"].schema


def test_given_test_arrays_stay_and_those_of_training_that_equal_them_go(tmp_path: Path) -> None:
    values, labels = random_rows()
    values += [values[0], values[0], values[40]]
    labels += [labels[0], labels[1], labels[40]]
    part = ["test"] * 10 + ["train"] * 40 + ["test", "train", "train"]
    split = {"validation": 0.2, "test": None, "seed": 0, "group": None, "column": "part"}
    report = prepare(tmp_path, values, labels, part=part, split=split)
    assert table_of(tmp_path, "test")["row"].to_pylist() == [*range(10), 50]
    assert (report.num_leaking, report.num_duplicates, report.num_conflicting) == (1, 1, 0)
    assert (report.num_train, report.num_validation) == (32, 8)


@pytest.mark.parametrize("task", ["array_classification", "image_generation"])
def test_predictor_knows_what_it_needs(tmp_path: Path, task: str) -> None:
    prepare(tmp_path, *random_rows(), task=task, offset=127.5)
    assert read_json(tmp_path / "out" / "predictor" / "predictor.json") == {
        "task": task, "labels": LABELS, "shape": [2, 3], "offset": 127.5, "scale": 255.0,
    }  # fmt: skip


def test_equal_arrays_count_once_and_those_of_two_labels_go(tmp_path: Path) -> None:
    values, labels = random_rows()
    values += [values[0], values[1], values[1], values[2]]
    labels += [labels[0], labels[1], labels[1], "nought"]  # row 2 is a cross
    report = prepare(tmp_path, [*values, None], [*labels, "cross"])
    assert (report.num_rows_in, report.num_null, report.num_duplicates) == (55, 1, 3)
    assert (report.num_conflicting, report.num_conflicting_arrays, report.num_rows_out) == (2, 1, 49)
    removed = table_of(tmp_path, "removed").to_pydict()
    assert dict(zip(removed["row"], removed["reason"], strict=True)) == {
        2: "conflicting", 50: "duplicate", 51: "duplicate", 52: "duplicate", 53: "conflicting",
    }  # fmt: skip
    assert dict(zip(removed["row"], removed["same_as_row"], strict=True))[52] == 1


def test_label_of_most_rows_stands_where_conflicts_are_put_to_the_vote(tmp_path: Path) -> None:
    values, labels = random_rows()
    values += [values[2], values[2]]
    labels += ["nought", "nought"]
    report = prepare(tmp_path, values, labels, conflicts="majority")
    assert (report.num_conflicting, report.num_outvoted, report.num_duplicates, report.num_rows_out) == (0, 0, 2, 50)
    tables = [table_of(tmp_path, name).to_pylist() for name in SPLITS]
    assert next(row["label"] for table in tables for row in table if row["row"] == 2) == "nought"


def test_negative_zero_is_zero(tmp_path: Path) -> None:
    values, labels = random_rows()
    report = prepare(tmp_path, [*values, [0.0] * 6, [-0.0] * 6], [*labels, "cross", "cross"])
    assert report.num_duplicates == 1


def test_arrays_without_a_label_are_kept_apart(tmp_path: Path) -> None:
    values, labels = random_rows()
    report = prepare(tmp_path, [*values, [1] * 6, [1] * 6, values[0], [2] * 6], [*labels, None, None, None, None])
    assert (report.num_unlabelled, report.num_unlabelled_repeated, report.num_rows_out) == (2, 2, 50)
    unlabelled = table_of(tmp_path, "unlabelled").to_pydict()
    assert unlabelled["row"] == [50, 53]
    assert unlabelled["label"] == unlabelled["label_id"] == [None, None]
    assert unlabelled["values"] == [[1] * 6, [2] * 6]


def test_group_stays_in_one_split(tmp_path: Path) -> None:
    values, labels = random_rows(60)
    group = [f"writer {number // 4}" for number in range(60)]
    prepare(tmp_path, values, labels, group=group, split=SETTINGS["split"] | {"group": "group"})
    found = [{group[row] for row in table_of(tmp_path, name)["row"].to_pylist()} for name in SPLITS]
    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found)) == 15


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    digests: set[tuple[str, ...]] = set()
    for number in range(2):
        prepare(tmp_path / str(number), *random_rows())
        folder = tmp_path / str(number) / "out"
        digests.add(tuple(sha256_of(folder / f"{name}.parquet") for name in SPLITS))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({3: [1] * 5}, FLOATS, r"shape \[2, 3\] is of 6 numbers, .* but row 4 has 5 numbers; mend shape, or the rows"),
        ({3: [1] * 7, 8: []}, FLOATS, "row 4 has 7 numbers, row 9 has 0 numbers"),
        ({3: [np.nan] * 6}, FLOATS, "row 4 has a null, NaN, infinite or too large number"),
        ({3: [1, 2, 3, 4, 5, None]}, FLOATS, "row 4 has a null"),
        ({3: [1, 2, 3, 4, 5, -np.inf]}, FLOATS, "row 4 has a null, NaN, infinite"),
        ({3: [1, 2, 3, 4, 5, 1e39]}, pa.list_(pa.float64()), "row 4 has .* too large number"),
    ],
)
def test_array_that_does_not_fit_is_named(
    tmp_path: Path, change: dict[int, Any], kind: pa.DataType, message: str
) -> None:
    values, labels = random_rows()
    with pytest.raises(InputError, match=message):
        prepare(tmp_path, [change.get(row, array) for row, array in enumerate(values)], labels, kind)


def test_at_most_five_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    values, labels = random_rows(3000)
    with pytest.raises(InputError) as error:
        prepare(tmp_path, [array[:5] for array in values], labels)
    assert str(error.value).count("has 5 numbers") == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": []}, "needs a label for each array; name them in validate.contract.labels"),
        ({"names": ["cross", "square"]}, "labels that the contract does not allow: 'nought'"),
        ({"kind": pa.string(), "values": ["1"] * 50}, r"gives it as string: CAST\(… AS FLOAT\[\]\) AS values"),
        ({"labels": [None] * 50}, "no row of 50 has both an array and a label"),
        ({"split": SETTINGS["split"] | {"group": "writer"}}, "split.group is 'writer', which ingest.query does"),
        ({"split": SETTINGS["split"] | {"test": 0.01}}, "too small to stratify"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used_is_explained(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    values, labels = random_rows()
    with pytest.raises(InputError, match=message):
        prepare(tmp_path, **({"values": values, "labels": labels} | given))


def test_leak_is_named() -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    values[4] = values[1]
    splits = {"train": np.array([0, 1]), "validation": np.array([2, 3]), "test": np.array([4, 5])}
    with pytest.raises(LeakageError, match=r"1 arrays .* 'row 2 \(train\) = row 5 \(test\)'") as error:
        check_leakage(splits, values)
    assert error.value.report["num_leaks"] == 1
    check_leakage({"train": splits["train"], "validation": splits["validation"]}, values)
