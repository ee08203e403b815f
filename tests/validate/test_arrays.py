from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ContractError
from components.validate import Report
from components.validate.arrays import LARGEST, NUM_ODD, NUM_VALUES, SMALLEST, described
from tests.validate.test_validate import found_in, judge_by

CONTRACT: dict[str, Any] = {
    "columns": {"values": "array", "label": "string"},
    "labels": ["0", "1"],
    "num_rows": {"min": 2, "max": 10000},
    "values": {"length": 2, "min": 0.0, "max": 255.0},
    "max_null_share": 0.0,
    "max_duplicate_share": 0.0,
    "max_conflict_share": 0.0,
    "min_class_share": 0.1,
}
FLOATS = pa.list_(pa.float32())


def judge(folder: Path, values: Any, labels: list[str | None], kind: pa.DataType = FLOATS, **contract: Any) -> Report:
    return judge_by(folder, pa.table({"values": pa.array(values, kind), "label": labels}), CONTRACT | contract)


@pytest.mark.parametrize("kind", [FLOATS, pa.list_(pa.uint8()), pa.list_(pa.float64(), 2), pa.large_list(pa.int64())])
def test_arrays_that_keep_the_contract_pass_with_their_figures(tmp_path: Path, kind: pa.DataType) -> None:
    report = judge(tmp_path, [[0, 3], [4, 255], [0, 3]], ["0", "1", "0"], kind, max_duplicate_share=0.4)
    assert (report.num_rows, report.num_distinct, report.num_failed) == (3, 2, 0)
    assert (report.min_value, report.max_value, report.max_text_length) == (0.0, 255.0, 0)
    assert (report.duplicate_share, report.conflict_share) == (0.333333, 0.0)
    assert read_json(tmp_path / "verdict.json")["labels"] == ["0", "1"]
    found = found_in(tmp_path)
    assert found["arrays of 2 numbers"] == "2 numbers"
    assert found["numbers of at least 0"] == "0 is the smallest value"
    assert found["numbers of at most 255"] == "255 is the largest value"
    assert found["at most 40% of the rows with an array that came before"] == "1 row (33.33%)"
    assert "list<" in found["'values' of type array"]


@pytest.mark.parametrize(
    ("values", "labels", "contract", "message"),
    [
        ([[1, 2], [1, 2, 3]], ["0", "1"], {}, r"arrays of 2 numbers, found 1 row .* row 2: 3 numbers"),
        ([[1, 2], []], ["0", "1"], {}, "arrays of 2 numbers, found 1 row .* row 2: 0 numbers"),
        ([[1, 2], None], ["0", "1"], {}, r"at most 0% of 'values' null, found 1 row \(50%\), for example row 2"),
        ([[1, np.nan], [1, None]], ["0", "1"], {}, "NaN or infinite, found 2 rows .* row 1: 1 values that are no"),
        ([[1, 2], [1, np.inf]], ["0", "1"], {}, "null, NaN or infinite, found 1 row "),
        ([[1, 2], [-1, 3]], ["0", "1"], {}, "numbers of at least 0, found 1 row .* row 2: -1 as its smallest value"),
        ([[1, 256], [1, 3]], ["0", "1"], {}, "numbers of at most 255, found 1 row .* row 1: 256 as its largest value"),
        ([[1, 2], [3, 4], [3, 4]], ["0", "1", "1"], {}, r"that came before, found 1 row \(33.*%\), .* row 2 \(2 times"),
        (
            [[1, 2], [3, 4], [3, 4]], ["0", "1", "0"], {"max_duplicate_share": 0.5},
            r"of the arrays with two labels, found 1 array \(50%\), for example the array of row 2 is 0 and 1",
        ),
        ([[1, 2], [3, 4]], ["0", None], {}, "at most 0% of 'label' null, found 1 row .* row 2"),
    ],
)  # fmt: skip
def test_breach_of_arrays_is_named_with_rows(
    tmp_path: Path, values: Any, labels: list[str | None], contract: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        judge(tmp_path, values, labels, **contract)


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.string(), pa.list_(FLOATS)])
def test_column_that_is_no_array_is_named_with_its_cast(tmp_path: Path, kind: pa.DataType) -> None:
    values: Any = ["1,2", "3,4"] if kind == pa.string() else [["1"], ["2"]] if kind != pa.list_(FLOATS) else [[[1]]] * 2
    message = rf"'values' of type array, found type {str(kind)[:5]}.*CAST\(values AS FLOAT\[\]\)"
    with pytest.raises(ContractError, match=message):
        judge(tmp_path, values, ["0", "1"], kind)


def test_arrays_without_a_label_are_judged_alone(tmp_path: Path) -> None:
    contract = {key: value for key, value in CONTRACT.items() if key not in ("labels", "max_conflict_share")}
    contract |= {"columns": {"values": "array"}}
    del contract["min_class_share"]
    assert judge_by(tmp_path, pa.table({"values": [[1, 2], [3, 4]]}), contract).num_labels == 0
    assert read_json(tmp_path / "verdict.json")["labels"] == []


def test_description_of_arrays_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=rng.integers(0, 9)) for _ in range(50)]
    table = described(pa.array([*map(list, arrays), None, [-0.0], [0.0]], pa.list_(pa.float64())), start=7)
    for row, values in enumerate(arrays):
        assert table[NUM_VALUES][row].as_py() == len(values)
        assert table[SMALLEST][row].as_py() == (values.min() if len(values) else None)
        assert table[LARGEST][row].as_py() == (values.max() if len(values) else None)
    assert table["row"].to_pylist() == list(range(7, 60))
    assert table["digest"][50].as_py() is table[NUM_ODD][50].as_py() is None
    assert table["digest"][51] == table["digest"][52]
