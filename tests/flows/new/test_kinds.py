"""Files that are no table, or not the file itself: each is named, and the command that is told gives rows."""

import io
import json
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from components.params import FileSource
from components.plumbing.errors import SourceError
from flows.new.figures import measure_table
from flows.new.table import find, format_of
from tests.projects import environment
from tests.tiny import tiny_rows

ROWS = [(text, label) for text, label in tiny_rows(40)]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])
TABLE = pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", FRAME.to_csv(index=False))


def tarred(path: Path) -> None:
    FRAME.to_csv(path.parent / "rows.csv", index=False)
    shutil.make_archive(str(path).removesuffix(".tar.gz"), "gztar", path.parent, "rows.csv")
    (path.parent / "rows.csv").unlink()


def database(path: Path) -> None:
    with sqlite3.connect(path) as con:
        FRAME.to_sql("tickets", con, index=False)


def packed_parquet(path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(TABLE, buffer)
    path.write_bytes(pa.compress(buffer.getvalue(), codec="gzip", asbytes=True))


def in_russian(path: Path) -> None:
    rows = [
        f"Давно пора прочитать эту хорошую книгу ещё раз {number},{label}\n" for number, (_, label) in enumerate(ROWS)
    ]
    path.write_bytes(("text,label\n" + "".join(rows)).encode("cp1251"))


CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "rows.zip": (zipped, "a zip archive of 'rows.csv'", "rows_files/rows.csv"),
    "zip.csv": (zipped, "a zip archive of 'rows.csv'", "zip_files/rows.csv"),
    "some rows.tar.gz": (tarred, "a tar archive", "some rows_files/rows.csv"),
    "rows.feather": (lambda path: pyarrow.feather.write_feather(TABLE, path), "an Arrow", "rows.parquet"),
    "rows.orc": (lambda path: pyarrow.orc.write_table(TABLE, path), "an ORC file", "rows.parquet"),
    "russian.csv": (in_russian, r"not UTF-8 \(from byte 11 on\) and may be CP1251", "utf8_russian.csv"),
    "rows.db": (database, "an SQLite database", "rows_rows.csv"),
    "rows.parquet.gz": (packed_parquet, "packed once more", "rows.parquet"),
    "columns.json": (FRAME.to_json, "as pandas writes it", "columns_lines.jsonl"),
    "data.json": (
        lambda path: path.write_text(json.dumps({"data": FRAME.to_dict("records"), "n": 40})),
        "in its list 'data'", "data_lines.jsonl",
    ),
}  # fmt: skip


def num_rows(path: Path) -> int:
    source = FileSource(kind="file", path=str(find(path)))
    form = format_of(path, ("text", "label"))
    return measure_table(source, form, text="text", label="label").figures.num_rows


@pytest.mark.parametrize("name", CASES)
def test_command_that_is_told_gives_the_rows(tmp_path: Path, name: str) -> None:
    make, said, gives = CASES[name]
    make(tmp_path / name)
    with pytest.raises(SourceError, match=said) as caught:
        num_rows(tmp_path / name)
    command = (
        str(caught.value).rpartition(": ")[2]
        if "python -c" not in str(caught.value)
        else ("python -c" + str(caught.value).partition("python -c")[2])
    )
    command = command.replace("FROM TABLE", "FROM tickets")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, env=environment())
    assert num_rows(tmp_path / gives) == 40


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", LFS, "rows.csv is a pointer of Git LFS, not the file itself; .*: git lfs pull --include=rows.csv"),
        ("rows.parquet", LFS, "git lfs pull --include=rows.parquet"),
        ("rows.csv", b"/annex/objects/SHA256E-s31390--f50d7ac4.csv\n", "git annex get rows.csv"),
        ("rows.csv.dvc", b"outs:\n- md5: a304afb96060\n  path: rows.csv\n", "dvc pull rows.csv.dvc"),
        ("rows.csv", b"\n<html><head><title>Sign in</title>", "is a web page titled 'Sign in'"),
        ("rows.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "an old Excel file"),
        ("rows.csv", b"%PDF-1.4\n", "is a PDF document, which holds no table"),
        ("rows.bin", b"\x80\x04\x95", "is a pickle"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        num_rows(tmp_path / name)


def test_workbook_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(SourceError, match="is an Excel workbook; save its sheet as 'CSV UTF-8'"):
        num_rows(tmp_path / "rows.csv")


@pytest.mark.parametrize("name", ["rows.tab", "rows.psv", "rows.dat", "rows", "rows.parquet", "rows.jsonl"])
def test_table_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    delimiter = {"rows.tab": "\t", "rows.psv": "|"}.get(name, ",")
    FRAME.to_csv(tmp_path / name, index=False, sep=delimiter)
    assert num_rows(tmp_path / name) == 40


@pytest.mark.parametrize("write", [FRAME.to_parquet, lambda path: FRAME.to_json(path, orient="records")])
def test_parquet_and_json_are_read_whatever_they_are_called(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "rows.csv")
    assert num_rows(tmp_path / "rows.csv") == 40
