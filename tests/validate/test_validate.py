import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.params import Validate
from components.plumbing.artifacts import read_json, sha256_of
from components.plumbing.errors import ContractError, ParamsError
from components.recipes import load_yaml, parse_recipe
from components.tracking.tracker import NullTracker
from components.validate import Inputs, Outputs, Report, run

ROOT = Path(__file__).parent.parent.parent

CONTRACT: dict[str, Any] = {
    "columns": {"text": "string", "label": "string"},
    "labels": ["negative", "positive"],
    "num_rows": {"min": 2, "max": 1000},
    "text_length": {"min": 1, "max": 50},
    "max_null_share": 0.0,
    "max_duplicate_share": 0.0,
    "max_conflict_share": 0.0,
    "min_class_share": 0.1,
}


def judge(folder: Path, texts: Sequence[Any], given: Sequence[Any], **contract: Any) -> Report:
    return judge_table(folder, pa.table({"text": texts, "label": given}), **contract)


def judge_table(folder: Path, table: pa.Table, **contract: Any) -> Report:
    return judge_by(folder, table, CONTRACT | contract)


def judge_by(folder: Path, table: pa.Table, contract: dict[str, Any]) -> Report:
    """Run the stage over a table; observations and the verdict lie in `folder`."""
    pq.write_table(table, folder / "data.parquet")
    params = Validate.model_validate_json(json.dumps({"contract": contract}))
    outputs = Outputs(verdict=folder / "verdict.json", observations=folder / "observations")
    outputs.observations.mkdir(exist_ok=True)
    return run(params, Inputs(data=folder / "data.parquet"), outputs, tracker=NullTracker())


def test_rows_that_keep_the_contract_pass_with_their_figures(tmp_path: Path) -> None:
    labels = ["negative", "positive", "negative", "positive", None]
    report = judge(
        tmp_path, ["a", "bb", "ccc", "a", None], labels,
        max_null_share=0.2, max_duplicate_share=0.25, max_conflict_share=0.4,
    )  # fmt: skip
    assert report == Report(
        num_rows=5, num_labels=2, num_distinct=3, num_nulls=1, num_unlabelled=0, duplicate_share=0.25,
        conflict_share=0.333333, min_class_share=0.5, min_text_length=1, max_text_length=3, min_value=0.0,
        max_value=0.0, num_expectations=13, num_failed=0,
    )  # fmt: skip
    verdict = read_json(tmp_path / "verdict.json")
    assert verdict["success"]
    assert verdict["class_counts"] == {"negative": 2, "positive": 2}
    nulls = next(one for one in verdict["expectations"] if one["expected"] == "at most 20% of 'text' null")
    assert (nulls["name"], nulls["num_unexpected"], nulls["share"]) == ("expect_column_values_to_not_be_null", 1, 0.2)


def test_verdict_keeps_the_order_of_labels(tmp_path: Path) -> None:
    names = [f"class {number:02}" for number in reversed(range(40))]
    judge(tmp_path, [f"这是第{n}行" for n in range(400)], names * 10, labels=names, min_class_share=0.02)
    verdict = read_json(tmp_path / "verdict.json")
    assert verdict["labels"] == names
    assert verdict["num_rows"] == 400


def test_verdict_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    digests: set[str] = set()
    for _ in range(2):
        judge(tmp_path, [f"text {n}" for n in range(100)], ["negative", "positive"] * 50)
        digests.add(sha256_of(tmp_path / "verdict.json"))
    assert len(digests) == 1
    assert str(tmp_path) not in (tmp_path / "verdict.json").read_text()


@pytest.mark.parametrize(
    ("texts", "labels", "contract", "message"),
    [
        (["a", "b"], ["negative", "positive"], {"num_rows": {"min": 3, "max": None}}, "at least 3 rows, found 2 rows"),
        (
            ["a", None],
            ["negative", "positive"],
            {},
            r"at most 0% of 'text' null, found 1 row \(50%\), for example row 2",
        ),
        (["a", "b", "c"], ["negative", "positive", None], {}, "at most 0% of 'label' null, found 1 row .* row 3"),
        (
            ["a", "b" * 60],
            ["negative", "positive"],
            {},
            "1 to 50 characters, found 1 row .* row 2: 60 characters: 'bbb",
        ),
        (["a", ""], ["negative", "positive"], {}, "1 to 50 characters, found 1 row .* row 2: 0 characters: ''"),
        (
            ["a", "b", "b"],
            ["negative", "positive", "positive"],
            {},
            r"came before, found 1 row \(33.33%\), for example 'b' \(2 times\)",
        ),
        (
            ["a", "b", "b"],
            ["negative", "positive", "negative"],
            {"max_duplicate_share": 1.0},
            r"with two labels, found 1 text \(50%\), for example 'b' is negative and positive",
        ),
        (
            ["a", "b"],
            ["negative", "neutral"],
            {},
            r"a label of 'negative', 'positive', found 1 row \(50%\), for example 'neutral'",
        ),
        (["a", "b"], ["negative", "positve"], {}, r"'positve' is unknown \(did you mean 'positive'\?\)"),
        (
            ["a", "b"],
            ["negative", "Positive "],
            {},
            r"'Positive ' differs from 'positive' only in case or spaces; mend the query, e.g. lower\(trim\(label\)\)",
        ),
        (["a", "b"], ["negative", " positive"], {}, r"only in case or spaces; mend the query, e.g. trim\(label\)"),
        (
            ["a", "b"],
            ["negative", "negative"],
            {},
            "found rows of 1 of 2, for example 'positive' has 0 rows .*the rows are all 'neg",
        ),
        (
            ["a", "b", "c"],
            ["negative", "negative", "positive"],
            {"min_class_share": 0.4},
            r"at least 40% .* in every class, found 1 row \(33.33%\) of 'positive', the smallest \(add rows",
        ),
        (
            ["a", "b"],
            [0, 1],
            {},
            r"'label' of type string, found type int64 \(cast it in the query: CAST\(label AS VARCHAR\)",
        ),
        (["a", None], [None, None], {}, "at most 0% of 'label' null, found 2 rows"),
        ([None, None], ["negative", "positive"], {}, "at most 0% of 'text' null, found 2 rows"),
        (["a", "b" * 10_000_000], ["negative", "positive"], {}, "row 2: 10000000 characters"),
        (["a", "b"], ["negative", "c" * 1_000_000], {}, "a label of 'negative', 'positive', found 1 row"),
    ],
)
def test_breach_is_named_with_rows_examples_and_advice(
    tmp_path: Path, texts: list[Any], labels: list[Any], contract: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message) as error:
        judge(tmp_path, texts, labels, **contract)
    assert error.value.exit_code == 3
    assert len(str(error.value)) < 2500
    assert "\n" not in str(error.value)


def test_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    table = pa.table({"texts": ["a", "b"], "label": ["negative", "positive"]})
    with pytest.raises(
        ContractError, match=r"expected a column 'text', found only 'texts', 'label' .* \(did you mean 'texts'\?\)"
    ):
        judge_table(tmp_path, table)


def test_types_of_other_columns_are_judged_with_nulls_in_them(tmp_path: Path) -> None:
    table = pa.table({
        "text": ["a", "b"], "label": ["negative", "positive"], "count": [1, None],
        "score": pa.array([1, 2]).cast(pa.decimal128(20, 1)), "flag": [True, None], "name": ["x", None],
    })  # fmt: skip
    columns = CONTRACT["columns"] | {"count": "integer", "score": "number", "flag": "boolean", "name": "string"}
    assert judge_table(tmp_path, table, columns=columns).num_failed == 0
    wrong = CONTRACT["columns"] | {"count": "boolean", "score": "integer", "flag": "number", "name": "integer"}
    with pytest.raises(ContractError, match=r"in 4 of \d+ expectations"):
        judge_table(tmp_path, table, columns=wrong)


def test_at_most_five_examples_are_shown(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as error:
        judge(
            tmp_path, [f"t{n}" for n in range(20)], ["negative"] * 5 + ["positive"] * 5 + [f"L{n}" for n in range(10)]
        )
    verdict = read_json(tmp_path / "observations" / "verdict.json")
    assert [len(one["examples"]) for one in verdict["expectations"] if not one["success"]] == [5]
    assert "found 10 rows" in str(error.value)


def test_breach_leaves_verdict_and_data_docs_but_no_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ContractError) as error:
        judge(tmp_path, ["a", "[bold]b", "c"], ["negative", "[/red]Positive", "positive"])
    assert error.value.report["num_failed"] == 1
    assert not (tmp_path / "verdict.json").exists()
    assert not read_json(tmp_path / "observations" / "verdict.json")["success"]
    printed = capsys.readouterr().err
    assert "1 of 13 expectations failed" in printed
    assert "FAILED" in printed
    assert "'[/red]Positive' (1 row)" in printed


def test_table_says_what_was_found_where_all_holds(tmp_path: Path) -> None:
    labels = ["negative", "positive", "negative", "positive", "negative"]
    judge(tmp_path, ["a", "bb", "ccc", "dddd", "a"], labels, max_duplicate_share=0.25)
    assert found_in(tmp_path) == {
        "2 to 1000 rows": "5 rows",
        "a column 'text'": "it is there",
        "'text' of type string": "string",
        "a column 'label'": "it is there",
        "'label' of type string": "string",
        "at most 0% of 'text' null": "0 rows (0%)",
        "texts of 1 to 50 characters": "1 to 4 characters",
        "at most 25% of the rows with a text that came before": "1 row (20%)",
        "at most 0% of 'label' null": "0 rows (0%)",
        "a label of 'negative', 'positive'": "'negative', 'positive'",
        "rows of every label": "rows of 2 of 2",
        "at least 10% of the rows in every class": "2 rows (40%) of 'positive', the smallest",
        "at most 0% of the texts with two labels": "0 texts (0%)",
    }


def test_every_small_class_is_named(tmp_path: Path) -> None:
    labels = ["a"] * 17 + ["b"] * 2 + ["c"]
    message = r"found 1 row \(5%\) of 'c', the smallest, for example 'b' has 2 rows \(10%\) \(add rows"
    with pytest.raises(ContractError, match=message):
        judge(tmp_path, [f"t{n}" for n in range(20)], labels, labels=["a", "b", "c"], min_class_share=0.2)


def found_in(folder: Path) -> dict[str, str]:
    """What the page says was found of what was expected."""
    page = (folder / "observations" / "data_docs.html").read_text(encoding="utf-8")
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in page.split("<tr>")]
    return {
        html.unescape(row[1]): html.unescape(row[2])
        for row in rows
        if len(row) > 3 or (row and row[0].startswith("<span"))
    }


def test_data_docs_show_what_fails_first_and_name_no_address(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    with pytest.raises(ContractError, match=r"Data Docs: .*data_docs\.html"):
        judge(tmp_path, ["a", "b", "c"], ["negative", "positive", evil])
    page = (tmp_path / "observations" / "data_docs.html").read_text(encoding="utf-8")
    assert page.index("What fails") < page.index(html.escape(evil)) < page.index("What holds") < page.index("Classes")
    assert not re.search(r"https?:|<img|<script|@import|url\(", page)


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ({"columns": {"text": "string"}}, "labels is needed where columns has 'label', and only there"),
        ({"columns": {"label": "string"}}, "columns must say 'text: string' or 'values: array'"),
        ({"values": {"length": 4, "min": 0, "max": 1}}, "values is needed where columns has 'values', and only there"),
        ({"columns": {"text": "integer", "label": "string"}}, "columns must say 'text: string'"),
        ({"labels": ["a", "a"]}, "labels names one label twice"),
        ({"labels": ["a"]}, "labels"),
        ({"num_rows": {"min": 5, "max": 4}}, r"min \(5\) is above max \(4\)"),
    ],
)
def test_contract_that_makes_no_sense_is_refused(contract: dict[str, Any], message: str) -> None:
    raw = load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"]
    raw["validate"]["contract"] |= contract
    with pytest.raises(ParamsError, match=message):
        parse_recipe("movie_sentiment", raw)


def test_rows_to_pretrain_on_are_counted_and_left_out_of_what_labels_are_judged_by(tmp_path: Path) -> None:
    texts = ["a", "b", "c", "c", "a", None]
    labels = ["negative", "positive", None, None, None, None]
    with pytest.raises(ContractError, match=r"without a label, to pretrain on, found 4 rows \(66.67%\).* row 3, row 4"):
        judge(tmp_path, texts, labels, max_unlabelled_share=0.5, max_null_share=0.5)
    report = judge(tmp_path, texts, labels, max_unlabelled_share=0.7, max_null_share=0.5)
    assert (report.num_rows, report.num_unlabelled, report.num_nulls) == (6, 3, 1)
    assert (report.num_distinct, report.duplicate_share, report.min_class_share) == (2, 0.0, 0.5)


def test_text_without_a_label_is_judged_alone(tmp_path: Path) -> None:
    contract = {"columns": {"text": "string"}, "num_rows": {"min": 1, "max": 9}, "text_length": {"min": 1, "max": 9}}
    shares = {"max_null_share": 0.0, "max_duplicate_share": 0.4}
    report = judge_by(tmp_path, pa.table({"text": ["a", "b", "a"], "year": [1, 2, 3]}), contract | shares)
    assert (report.num_rows, report.num_labels, report.num_nulls, report.num_unlabelled) == (3, 0, 0, 0)
    assert read_json(tmp_path / "verdict.json")["labels"] == []
    with pytest.raises(ContractError, match=r"came before, found 1 row \(33.33%\), for example 'a' \(2"):
        judge_by(tmp_path, pa.table({"text": ["a", "b", "a"]}), contract | shares | {"max_duplicate_share": 0.0})
