import contextlib
import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from components.ingest import Inputs, Outputs, Report, run
from components.ingest.reading import load
from components.params import Ingest
from components.plumbing.artifacts import read_json, sha256_of
from components.plumbing.errors import BadRowsError, SourceError
from components.tracking.tracker import NullTracker

CSV = {"type": "csv", "delimiter": ",", "quote": '"', "header": True, "encoding": "utf-8"}
ROWS = b'text,label\n"a, ""quoted"" text\nin two lines",pos\nplain,neg\n'


def ingest(
    folder: Path,
    content: bytes | None,
    form: dict[str, Any] = CSV,
    *,
    query: str = "SELECT * FROM source",
    max_bad_share: float = 0.0,
    **source: Any,
) -> Report:
    """Run the stage over one file of this content, or over the source that is given."""
    if content is not None:
        (folder / "rows").write_bytes(content)
    source = {"kind": "file", "path": "rows"} | source
    params = Ingest.model_validate_json(
        json.dumps({
            "source": source, "format": form or None, "query": query, "licence": "CC0", "max_bad_share": max_bad_share,
            "watch": source.get("path", "components/sources"),
        })
    )  # fmt: skip
    (folder / "out").mkdir(exist_ok=True)
    out = folder / "out"
    outputs = Outputs(data=out / "data.parquet", card=out / "card.json", work=out / "work", observations=out)
    try:
        return run(params, Inputs(project=folder), outputs, tracker=NullTracker())
    finally:
        assert not (out / "work").exists()


def rows_of(folder: Path) -> list[tuple[Any, ...]]:
    return duckdb.execute("FROM read_parquet(?)", [str(folder / "out" / "data.parquet")]).fetchall()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_quotes_and_line_breaks_of_csv_are_kept(tmp_path: Path, end: bytes) -> None:
    report = ingest(tmp_path, ROWS.replace(b"\n", end))
    assert rows_of(tmp_path) == [(f'a, "quoted" text{end.decode()}in two lines', "pos"), ("plain", "neg")]
    assert (report.num_rows, report.num_columns, report.num_bad_rows) == (2, 2, 0)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'text,label\r\n"a\nb",pos\r\n"c\r\nd",neg\r\nappended,pos\n', ["a\nb", "c\r\nd", "appended"]),
        (b"text,label\na,pos\nb\rc,neg\nd\r,pos\n", ["a", "b\rc", "d\r"]),
        (b'text,label\r\r\na,pos\r\r\n"b\r\r\nc",neg\r\r\n', ["a", "b\r\r\nc"]),
        (b'text,label\na,pos\n"say ""no"", b",neg\r\n\r\nc,pos\r\n', ["a", 'say "no", b', "c"]),
        (b"text,label\ra,pos\rb,neg\r", ["a", "b"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_of_csv_may_end_in_several_ways(tmp_path: Path, content: bytes, texts: list[str], encoding: str) -> None:
    report = ingest(tmp_path, content.decode().encode(encoding), CSV | {"encoding": encoding})
    assert [text for text, _ in rows_of(tmp_path)] == texts
    assert {label for _, label in rows_of(tmp_path)} == {"pos", "neg"}
    assert report.num_bad_rows == 0


def test_bad_rows_of_lines_that_end_in_several_ways_are_told(tmp_path: Path) -> None:
    content = "text,label\r\ngut,pos\nSchön,neg\r\none too many,pos,x\n".encode("latin-1")
    report = ingest(tmp_path, content + b"more,pos\n" * 60, max_bad_share=0.1)
    assert (report.num_rows, report.num_bad_rows) == (61, 2)
    assert "not UTF-8: Sch\ufffdn" in report.bad_rows
    assert "one too many" in report.bad_rows


def test_tsv_without_quotes_or_header(tmp_path: Path) -> None:
    form = CSV | {"delimiter": "\t", "quote": "", "header": False, "columns": ["text", "label"]}
    ingest(tmp_path, b"say \"no\tneg\r\nit's, fine\tpos\r\n", form)
    assert rows_of(tmp_path) == [('say "no', "neg"), ("it's, fine", "pos")]


def test_column_without_a_name_has_its_position(tmp_path: Path) -> None:
    ingest(tmp_path, b",text,label\n0,fine,pos\n", query="SELECT column0, text, label FROM source")
    assert rows_of(tmp_path) == [("0", "fine", "pos")]


ENCODINGS = ["utf-8", "utf-16", "latin-1", "utf-16-be", "utf-32", "windows-1252", "mac-roman", "utf-8-sig"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    ingest(tmp_path, "text,label\ncafé,pos\n".encode(encoding), CSV | {"encoding": encoding})
    assert rows_of(tmp_path) == [("café", "pos")]


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_other_scripts_in_their_encodings(tmp_path: Path, encoding: str, ending: str) -> None:
    content = "text,label\n日本,東京\n京都,大阪\n".encode(encoding)
    (tmp_path / f"rows{ending}").write_bytes(gzip.compress(content) if ending == ".csv.gz" else content)
    ingest(tmp_path, None, CSV | {"encoding": encoding}, path=f"rows{ending}")
    assert rows_of(tmp_path) == [("日本", "東京"), ("京都", "大阪")]


def test_row_with_a_stray_byte_is_a_bad_row(tmp_path: Path) -> None:
    rows = [f"café {n},pos" for n in range(100)]
    content = "\n".join(["text,label", *rows, ""]).encode().replace(b" 77,", b" 77 \xe9,")
    report = ingest(tmp_path, content, max_bad_share=0.02)
    assert (report.num_rows, report.num_bad_rows) == (99, 1)
    assert "rows row 79: not UTF-8: café 77 \N{REPLACEMENT CHARACTER},pos" in report.bad_rows
    assert [text for text, _ in rows_of(tmp_path)] == [f"café {n}" for n in range(100) if n != 77]


def test_files_of_a_folder_keep_their_names_in_another_encoding(tmp_path: Path) -> None:
    for name in ("a/one.csv", "b/two.csv.gz"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        content = f"text,label\ncafé {name},pos\n".encode("windows-1252")
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    form = CSV | {"encoding": "windows-1252"}
    ingest(tmp_path, None, form, query="SELECT text FROM source", path="set", pattern="**/*.csv*")
    assert rows_of(tmp_path) == [("café a/one.csv",), ("café b/two.csv.gz",)]


def test_chinese_after_a_byte_order_mark(tmp_path: Path) -> None:
    ingest(tmp_path, "\ufefftext,label\n这本书很好,正面\n".encode(), query="SELECT text, label FROM source")
    assert rows_of(tmp_path) == [("这本书很好", "正面")]


def test_csv_is_text_and_empty_is_null(tmp_path: Path) -> None:
    ingest(tmp_path, b"text,label\n007,\n2020-01-01,1\n")
    assert rows_of(tmp_path) == [("007", None), ("2020-01-01", "1")]


def test_jsonl_keeps_types_and_skips_blank_lines(tmp_path: Path) -> None:
    content = '{"text": "好", "n": 1, "day": "2020-01-01"}\n\n{"text": "b", "n": 2.5, "z": null}\n'.encode()
    report = ingest(tmp_path, content, {"type": "jsonl"}, query="SELECT text, n, day, z FROM source")
    assert rows_of(tmp_path) == [("好", 1.0, "2020-01-01", None), ("b", 2.5, None, None)]
    assert report.num_bad_rows == 0


LAID_OUT = {
    "array": '[{"text": "a\\nb", "label": 1},\n\n{"text": "c", "label": 18446744073709551617}]',
    "pretty": '{\n  "text": "a\\nb",\n  "label": 1\n}\n{\n  "text": "c", "label": 18446744073709551617\n}',
    "commas": '{"text": "a\\nb", "label": 1},\n{"text": "c", "label": 18446744073709551617},\n',
    "lines": '{"text": "a\\nb", "label": 1}\r\n{"text": "c", "label": 18446744073709551617}',
    "CR": '{"text": "a\\nb", "label": 1}\r{"text": "c", "label": 18446744073709551617}\r',
}


@pytest.mark.parametrize("name", LAID_OUT)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_may_be_laid_out_in_any_way(tmp_path: Path, name: str, encoding: str) -> None:
    query = "SELECT text, as_text(label) AS label FROM source"
    ingest(tmp_path, LAID_OUT[name].encode(encoding), {"type": "jsonl"}, query=query)
    assert rows_of(tmp_path) == [("a\nb", "1"), ("c", "18446744073709551617")]


def test_objects_of_an_array_may_lie_across_what_is_read_at_once(tmp_path: Path) -> None:
    rows = [{"text": "x" * (1000 + n), "label": "neg"} for n in range(2_500)]
    report = ingest(tmp_path, json.dumps(rows, indent=1).encode(), {"type": "jsonl"})
    assert report.num_rows == 2_500
    assert [len(text) for text, _ in rows_of(tmp_path)] == list(range(1000, 3500))


def test_stray_byte_of_json_is_a_bad_row(tmp_path: Path) -> None:
    good = b'{"text": "a", "label": "pos"}\n' * 50
    report = ingest(
        tmp_path, good + '{"text": "é", "label": "neg"}\n'.encode("latin-1"), {"type": "jsonl"}, max_bad_share=0.1
    )
    assert (report.num_rows, report.num_bad_rows) == (50, 1)
    assert "rows row 51: not UTF-8" in report.bad_rows


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows"])
@pytest.mark.parametrize("how", ["gzip", "bz2", "lzma", "zstd", None])
def test_packed_files_are_read_whatever_they_are_called(tmp_path: Path, name: str, how: str | None) -> None:
    packed = pa.compress(ROWS, codec="zstd", asbytes=True) if how == "zstd" else ROWS
    packed = importlib.import_module(how).compress(ROWS) if how not in ("zstd", None) else packed
    (tmp_path / name).write_bytes(packed)
    ingest(tmp_path, None, path=name)
    assert rows_of(tmp_path) == [('a, "quoted" text\nin two lines', "pos"), ("plain", "neg")]


def test_file_that_grows_while_it_is_read_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def growing(*words: Any, **more: Any) -> Any:
        loaded = load(*words, **more)
        with (tmp_path / "rows").open("ab") as file:
            file.write(b"later,pos\n")
        return loaded

    monkeypatch.setattr("components.ingest.stage.load", growing)
    with pytest.raises(SourceError, match="'rows' changed while the rows were read; run again once it is whole"):
        ingest(tmp_path, ROWS)


def test_lines_keep_blanks_and_numbers(tmp_path: Path) -> None:
    ingest(tmp_path, 'one\n\n "two\r\nthree\u2028x'.encode(), {"type": "lines"})
    assert rows_of(tmp_path) == [("one", 1), ("", 2), (' "two', 3), ("three\u2028x", 4)]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    duckdb.sql(f"COPY (SELECT 'a' AS text, 1 AS label, [1, 2] AS pixels) TO '{path}'")
    ingest(tmp_path, None, {"type": "parquet"}, path="rows.parquet")
    assert rows_of(tmp_path) == [("a", 1, [1, 2])]


def test_gzip_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(ROWS))
    assert ingest(tmp_path, None, path="rows.csv.gz").num_rows == 2
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert ingest(tmp_path, None, {"type": "jsonl"}, path="rows.jsonl.gz").num_rows == 1


def test_files_of_a_folder_are_told_apart_by_filename(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pos.txt").write_text("good\nfine\n")
    (tmp_path / "set" / "neg.txt").write_text("bad\n")
    query = "SELECT line AS text, replace(filename, '.txt', '') AS label FROM source"
    ingest(tmp_path, None, {"type": "lines"}, query=query, path="set", pattern="*.txt")
    assert rows_of(tmp_path) == [("bad", "neg"), ("good", "pos"), ("fine", "pos")]
    ingest(tmp_path, None, CSV | {"header": False, "columns": ["text"]}, path="set", pattern="*.txt")
    assert rows_of(tmp_path)[0] == ("bad", "neg.txt")


def test_rows_of_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("CREATE TABLE reviews AS SELECT 'a' AS text, 1 AS label UNION ALL SELECT 'b', NULL")
    connection.close()
    monkeypatch.setenv("ROWS_URL", f"sqlite:///{tmp_path}/rows.db")
    source = {"kind": "sql", "url_variable": "ROWS_URL", "statement": "SELECT * FROM reviews ORDER BY text"}
    params = Ingest.model_validate_json(
        json.dumps({
            "source": source, "query": "FROM source", "licence": "CC0", "max_bad_share": 0.0, "watch": "x",
        })
    )  # fmt: skip
    outputs = Outputs(
        data=tmp_path / "data.parquet", card=tmp_path / "card.json", work=tmp_path / "w", observations=tmp_path
    )
    assert run(params, Inputs(project=tmp_path), outputs, tracker=NullTracker()).num_rows == 2
    assert str(tmp_path) not in (tmp_path / "card.json").read_text()


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    content = b"text,label\n" + b"".join(b"row %d,%d\n" % (i, i % 40) for i in range(200_000))
    query = "SELECT text, label, avg(length(text) / 3) OVER (PARTITION BY label) AS x FROM source WHERE label <> '7'"
    digests: set[str] = set()
    for _ in range(2):
        ingest(tmp_path, content, query=query)
        digests.add(sha256_of(tmp_path / "out" / "data.parquet") + sha256_of(tmp_path / "out" / "card.json"))
    assert len(digests) == 1


def test_card_says_where_the_rows_come_from(tmp_path: Path) -> None:
    report = ingest(tmp_path, ROWS, path=str(tmp_path / "rows"))
    card = read_json(tmp_path / "out" / "card.json")
    assert card["columns"] == [{"name": "text", "type": "VARCHAR"}, {"name": "label", "type": "VARCHAR"}]
    assert card["source"] == {"kind": "file", "path": "rows"}
    assert (card["licence"], card["num_rows"]) == ("CC0", 2)
    assert card["source_sha256"] == report.source_sha256 == sha256_of(tmp_path / "rows")


def test_bad_rows_are_counted_and_sampled_below_the_limit(tmp_path: Path) -> None:
    report = ingest(tmp_path, ROWS + b"short\nfar,too,long\nlast,pos\n", max_bad_share=0.5)
    assert [label for _, label in rows_of(tmp_path)] == ["pos", "neg", "pos"]
    assert (report.num_rows, report.num_bad_rows, report.bad_share) == (3, 2, 0.4)
    assert "row 4: Expected Number of Columns: 2 Found: 1: short" in report.bad_rows
    assert [bad["row"] for bad in read_json(tmp_path / "out" / "bad_rows.json")] == [4, 5]


def test_bad_rows_above_the_limit_stop_with_five_examples(tmp_path: Path) -> None:
    content = b"text,label\n" + b"short\n" * 9 + b"fine,pos\n"
    with pytest.raises(
        BadRowsError, match=r"9 of 10 rows cannot be read \(90.00%; max_bad_share allows 10.00%\)"
    ) as error:
        ingest(tmp_path, content, max_bad_share=0.1)
    assert str(error.value).count("short") == 5
    assert (error.value.exit_code, error.value.report["num_bad_rows"]) == (3, 9)  # a gate of the recipe
    with pytest.raises(SourceError, match="9 of 9 rows cannot be read"):  # no file of this format at all
        ingest(tmp_path, b"text,label\n" + b"short\n" * 9, max_bad_share=0.1)


@pytest.mark.parametrize(("footer", "limit", "is_read"), [(1, 0.001, True), (2, 0.001, False), (1, 0.0, False)])
def test_one_footer_line_of_a_small_file_is_within_a_small_share(
    tmp_path: Path, footer: int, limit: float, is_read: bool
) -> None:
    content = b"text,label\n" + b"fine,pos\nwell,neg\n" * 150 + b"Total: 300 rows\n" * footer
    with contextlib.nullcontext() if is_read else pytest.raises(BadRowsError, match=f"{footer} of {300 + footer} rows"):
        assert ingest(tmp_path, content, max_bad_share=limit).num_bad_rows == 1


def test_bad_lines_of_jsonl_are_counted(tmp_path: Path) -> None:
    content = b'{"text": "a"}\nnot json\n[1]\n"text"\n'
    with pytest.raises(BadRowsError, match=r"3 of 4 rows cannot be read .* row 2: not a JSON object: not json"):
        ingest(tmp_path, content, {"type": "jsonl"})


@pytest.mark.parametrize("num_rows", [1_000, 400_000])
def test_lines_that_an_open_quote_swallows_are_counted(tmp_path: Path, num_rows: int) -> None:
    block = b"some text of a row that is not short,pos\n" * num_rows
    with pytest.raises(BadRowsError) as error:
        ingest(tmp_path, b"text,label\n" + block + b'"never closed,pos\n' + block, max_bad_share=0.001)
    num_bad = int(str(error.value).split()[0])
    assert num_bad > 0.3 * num_rows
    assert f"{num_bad} of {2 * num_rows + 1} rows cannot be read" in str(error.value)


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        (b"", CSV, "the source holds nothing in 'rows'"),
        (b"text,label\n", CSV, "no rows, just a header"),
        (b"text,Text\na,b\n", CSV, "repeated names: 'text', 'Text'"),
        ("text,label\nok,pos\ncafé,pos\n".encode("latin-1"), CSV, r"rows is not UTF-8 \(row 3\); say its encoding"),
        ("téxt,label\nok,pos\n".encode("latin-1"), CSV, r"rows is not UTF-8 \(row 1\)"),
        ('{"text": "é"}\n'.encode("latin-1"), {"type": "jsonl"}, r"rows is not UTF-8 \(line 1\); .*iconv -f WINDOWS"),
        (b'[{"text": "a"}, {"text": ]', {"type": "jsonl"}, r"rows: object 2 cannot be read as JSON"),
        (b"text,label\na,b\n", {"type": "parquet"}, "rows is no Parquet file: .*set that to what it is"),
        (b"<!DOCTYPE html><title>Sign\n in</title>", CSV, "rows is a web page titled 'Sign in'"),
        (b"[1]\n", {"type": "jsonl"}, "no line that is a JSON object"),
        (b"PAR1 not really", {"type": "parquet"}, "read as parquet: the end of a file is missing"),
        (b"PAR1 not really", CSV, "rows is a Parquet file, but ingest.format is csv; set that to {type: parquet}"),
    ],
)
def test_file_that_cannot_be_read_is_explained(
    tmp_path: Path, content: bytes, form: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        ingest(tmp_path, content, form, max_bad_share=1.0)


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    (tmp_path / "b.csv").write_text("text,lable\na,b\n")
    with pytest.raises(SourceError, match=r"b.csv has the columns 'text', 'lable', but a.csv has 'text', 'label'"):
        ingest(tmp_path, None, path=".", pattern="*.csv")


def test_gzip_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.gz").write_bytes(gzip.compress(b"some line\n" * 1000)[:40])
    with pytest.raises(SourceError, match=r"rows.gz is not a whole gzip file"):
        ingest(tmp_path, None, {"type": "lines"}, path="rows.gz")


def test_text_of_10_mb_is_read(tmp_path: Path) -> None:
    text = b"x" * 10_000_000
    for content, form in ((b"text\n" + text, CSV), (b'{"text": "' + text + b'"}', {"type": "jsonl"})):
        ingest(tmp_path, content, form, query="SELECT text FROM source")
        assert len(rows_of(tmp_path)[0][0]) == 10_000_000


def test_row_beyond_the_limit_is_a_bad_row(tmp_path: Path) -> None:
    text = b"x" * 34_000_000
    with pytest.raises(BadRowsError, match=r"1 of 2 rows cannot be read .* row 2: Maximum line size"):
        ingest(tmp_path, b"text,label\n" + text + b",pos\nok,neg\n")
    with pytest.raises(SourceError, match="line 1 is longer than"):
        ingest(tmp_path, text, {"type": "lines"})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "SELECT txt, label FROM source",
            r"no column 'txt' in the source \(did you mean 'text'\?\); it has 'text', 'label'",
        ),
        ("SELECT s.txt FROM source AS s", r"no column 'txt' in the source \(did you mean 'text'\?\)"),
        ("SELECT text FROM sorce", "no table 'sorce'; the source's rows are in the table 'source'"),
        ("SELECT text FROM source WHERE false", "the query gives no rows of the 2"),
        ("SELECT CAST(text AS INT) FROM source", "TRY_CAST gives NULL"),
        ("SELEC text FROM source", "ingest.query: syntax error"),
        ("", "must be one SELECT .* it is: nothing"),
        ("SELECT text FROM source; DROP TABLE source", "must be one SELECT .* it is: SELECT, DROP"),
        ("COPY source TO 'stolen.csv'", "must be one SELECT .* it is: COPY"),
        ("UPDATE source SET text = ''", "must be one SELECT .* it is: UPDATE"),
        ("SELECT * FROM read_text('secret')", r"calls read_text\(\), but a query may read the tables"),
        ("SELECT * FROM source, read_csv('rows')", r"calls read_csv\(\)"),
        ("FROM query('SELECT now()')", r"calls query\(\)"),
        ("SELECT text, now() AS label FROM source", r"calls now\(\), which answers otherwise each time"),
        ("SELECT text, current_date AS label FROM source", "calls current_date, which"),
        ("WITH a AS (SELECT text, localtime AS label FROM source) FROM a", "calls localtime, which"),
        ("SELECT text, current_localtimestamp() AS label FROM source", r"calls current_localtimestamp\(\)"),
        ("SELECT text, age(TIMESTAMP '2020-01-01') AS label FROM source", r"calls age\(\)"),
        ("SELECT text, ago(INTERVAL 1 DAY) AS label FROM source", r"calls ago\(\)"),
        ("SELECT * FROM source WHERE random() < 0.5", r"calls random\(\).*hash\(text\) stands for chance"),
        ("SELECT * FROM source ORDER BY RANDOM()", r"calls random\(\)"),
        ("SELECT text, gen_random_uuid() AS label FROM source", r"calls gen_random_uuid\(\)"),
        ("SELECT text, list_transform([1], lambda x: x + random()) FROM source", r"calls random\(\)"),
        ("SELECT text, current_setting('threads') AS label FROM source", r"calls current_setting\(\)"),
        (
            "SELECT * FROM source USING SAMPLE 10 PERCENT (bernoulli)",
            "draws a sample, other rows each time; say a seed",
        ),
        ("SELECT * FROM source TABLESAMPLE 1 ROWS", "draws a sample"),
        ("SELECT * FROM 'rows'", "no table 'rows'"),
        ("SELECT * FROM content", "no table 'content'"),
    ],
)
def test_query_that_may_not_run_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(SourceError, match=message):
        ingest(tmp_path, ROWS, query=query)
    assert not (tmp_path / "stolen.csv").exists()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT text, current_date FROM (SELECT text, label AS current_date FROM source)",
        "SELECT today AS text, label FROM (SELECT text AS today, label FROM source)",
        "SELECT text, age(TIMESTAMP '2020-01-02', TIMESTAMP '2020-01-01')::VARCHAR AS label FROM source",
        "SELECT text, unnest(range(2)) AS label FROM source",
        "SELECT text, as_text(i) AS label FROM source, generate_series(1, 2) AS s(i)",
        "SELECT text, label FROM source USING SAMPLE reservoir(2 ROWS) REPEATABLE (0)",
        "SELECT text, CASE WHEN label = '' THEN error('none') ELSE label END AS label FROM source",
        "SELECT text, to_timestamp(0)::VARCHAR AS label FROM source WHERE hash(text) % 1 = 0",
    ],
)
def test_query_that_gives_the_same_rows_each_time_runs(tmp_path: Path, query: str) -> None:
    assert ingest(tmp_path, ROWS, query=query).num_rows >= 2


def test_query_may_end_with_a_semicolon_and_a_comment(tmp_path: Path) -> None:
    assert ingest(tmp_path, ROWS, query="SELECT text FROM source ORDER BY text DESC; -- all of it").num_columns == 1
    assert rows_of(tmp_path)[0] == ("plain",)


def test_lines_become_arrays_and_labels(tmp_path: Path) -> None:
    query = """
        SELECT CAST(numbers[1:3] AS UTINYINT[]) AS values, numbers[4] AS label
        FROM (SELECT string_split(line, ',') AS numbers FROM source)
    """
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"0,255,3,seven\n4,5,6,eight\n"))
    ingest(tmp_path, None, {"type": "lines"}, query=query, path="rows.csv.gz")
    assert rows_of(tmp_path) == [([0, 255, 3], "seven"), ([4, 5, 6], "eight")]


def test_rows_of_a_generator_are_described_in_the_card(tmp_path: Path) -> None:
    source = {
        "kind": "generator", "name": "teacher", "num_rows": 50, "num_features": 4, "hidden_size": 3, "num_classes": 2,
        "noise": 0.1, "seed": 1,
    }  # fmt: skip
    params = Ingest.model_validate_json(
        json.dumps({
            "source": source, "query": "SELECT values, label FROM source", "licence": "CC0", "max_bad_share": 0.0,
            "watch": "components/sources",
        })
    )  # fmt: skip
    outputs = Outputs(
        data=tmp_path / "data.parquet", card=tmp_path / "card.json", work=tmp_path / "w", observations=tmp_path
    )
    assert run(params, Inputs(project=tmp_path), outputs, tracker=NullTracker()).num_rows == 50
    card = read_json(tmp_path / "card.json")
    assert card["source"] == source
    assert "labelled by a network of random weights" in card["origin"]
    assert card["columns"][0] == {"name": "values", "type": "FLOAT[]"}
