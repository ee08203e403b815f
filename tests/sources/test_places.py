"""Files, folders, addresses, hubs and databases."""

import hashlib
import os
import socket
import sqlite3
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import duckdb
import pytest

from components.params import FileSource, HubSource, SqlSource, UrlSource
from components.plumbing.artifacts import sha256_of
from components.plumbing.errors import SourceError
from components.sources import fetch, fetch_folder
from components.sources.web import check_redirect, file_name

REVISION = "a" * 40


def test_relative_file_lies_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b")
    fetched = fetch(FileSource(kind="file", path="rows.csv"), root=tmp_path, folder=tmp_path / "work")
    assert fetched.paths == (tmp_path / "rows.csv",)
    assert fetched.sha256 == hashlib.sha256(b"a,b").hexdigest()


def test_folder_and_pattern_give_sorted_files_and_one_digest(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text(name)
    wanted = FileSource(kind="file", path=str(tmp_path), pattern="*.csv")
    fetched = fetch(wanted, root=Path("/"), folder=tmp_path / "work")
    assert [path.name for path in fetched.paths] == ["a.csv", "b.csv"]
    (tmp_path / "b.csv").write_text("changed")
    assert fetch(wanted, root=Path("/"), folder=tmp_path / "work").sha256 != fetched.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "row.csv"}, r"row.csv is missing \(did you mean 'rows.csv'\?\)"),
        ({"path": "."}, "is a folder; say which of its files with 'pattern'"),
        ({"path": ".", "pattern": "*.tsv"}, r"no file of . matches '\*.tsv'; it holds 'rows.csv'"),
        ({"pattern": "*.csv"}, "is a file, so pattern .* has no effect"),
        ({"sha256": "0" * 64}, "has sha256 .* but the recipe expects 0000"),
    ],
)
def test_file_that_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b")
    with pytest.raises(SourceError, match=message):
        fetch(FileSource.model_validate({"kind": "file", "path": "rows.csv"} | changes), root=tmp_path, folder=tmp_path)


@pytest.mark.parametrize("pattern", [None, "*.csv"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dangling", r"odd.csv is a link to gone.csv, which is not there; bring that back"),
        ("annex", r"is a link to .git/annex/objects/x.csv, which is not there; git annex get odd.csv"),
        ("itself", "is a link to odd.csv, which is not there"),
        ("pipe", "odd.csv is a named pipe, which has no end; write what it gives into a file"),
        ("device", "odd.csv is a device, which has no end"),
        ("socket", "odd.csv is a socket"),
    ],
)
def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pattern: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    links = {"dangling": "gone.csv", "annex": ".git/annex/objects/x.csv", "itself": "odd.csv", "device": "/dev/zero"}
    (tmp_path / "rows.csv").write_text("a,b")
    if kind == "pipe":
        os.mkfifo("odd.csv")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("odd.csv")
    else:
        (tmp_path / "odd.csv").symlink_to(links[kind])
    source = FileSource(kind="file", path="." if pattern else "odd.csv", pattern=pattern)
    with pytest.raises(SourceError, match=message):
        fetch(source, root=tmp_path, folder=tmp_path)


@pytest.mark.parametrize(("path", "pattern"), [("n" * 300, None), (".", "/etc/*"), (".", ""), (".", "**x")])
def test_path_that_cannot_be_is_one_line(tmp_path: Path, path: str, pattern: str | None) -> None:
    said = "cannot be read: File name too long|is none of files below a folder|no file of . matches"  # the last: 3.13's
    with pytest.raises(SourceError, match=said):
        fetch(FileSource(kind="file", path=path, pattern=pattern), root=tmp_path, folder=tmp_path)


def test_local_folder_is_used_whole(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    wanted = FileSource(kind="file", path="encoder")
    with pytest.raises(SourceError, match="encoder is empty"):
        fetch_folder(wanted, root=tmp_path, folder=tmp_path / "work")
    (tmp_path / "encoder" / "config.json").write_text("{}")
    assert fetch_folder(wanted, root=tmp_path, folder=tmp_path / "work") == tmp_path / "encoder"
    with pytest.raises(SourceError, match="has sha256"):
        fetch_folder(wanted.model_copy(update={"sha256": "0" * 64}), root=tmp_path, folder=tmp_path / "work")


@pytest.fixture
def served(tmp_path: Path) -> Generator[str]:
    """The address of a server of the folder `site`."""
    (tmp_path / "site").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "site"))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_url_is_fetched_once_and_checked(tmp_path: Path, served: str) -> None:
    rows = tmp_path / "site" / "rows.csv"
    rows.write_text("a,b")
    wanted = UrlSource(kind="url", url=f"{served}/rows.csv?token=hidden", sha256=sha256_of(rows), max_bytes=100)
    assert fetch(wanted, root=tmp_path, folder=tmp_path / "work").paths[0].read_text() == "a,b"
    rows.unlink()
    assert fetch(wanted, root=tmp_path, folder=tmp_path / "work").paths[0].name == "rows.csv"


@pytest.mark.parametrize(
    ("name", "max_bytes", "message"),
    [
        ("rows.csv", 100, "has sha256 .* but the recipe expects 0000"),
        ("rows.csv", 2, r"is larger than max_bytes \(2\)"),
        ("none.csv", 100, "answered 404"),
    ],
)
def test_url_that_cannot_be_used_is_named_without_its_secrets(
    tmp_path: Path, served: str, name: str, max_bytes: int, message: str
) -> None:
    (tmp_path / "site" / "rows.csv").write_text("a,b")
    url = f"{served}/{name}?token=hidden".replace("://", "://user:hidden@")
    with pytest.raises(SourceError, match=message) as error:
        fetch(UrlSource(kind="url", url=url, sha256="0" * 64, max_bytes=max_bytes), root=tmp_path, folder=tmp_path)
    assert "hidden" not in str(error.value)
    assert not list((tmp_path / ".modelyard" / "downloads").iterdir())


@pytest.fixture(scope="module")
def leading() -> Generator[str]:
    """A server that sends its asker to what the path says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = unquote(self.path.removeprefix("/to/"))
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/to/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/passwd", "leads to an address of the kind 'file:', which is not followed"),
        ("ftp://127.0.0.1/x", "of the kind 'ftp:'"),
        ("data:text/plain,x", "is no address, or leads to none"),
        ("/to//to/x", "leads from one address to another, more than 10 times"),
    ],
)
def test_redirect_that_is_not_followed_is_named(tmp_path: Path, leading: str, target: str, message: str) -> None:
    url = leading + (target if target.startswith("/") else quote(target, safe=""))
    url = url if target != "/to//to/x" else f"{leading}{quote(url, safe='')}"
    with pytest.raises(SourceError, match=message):
        fetch(UrlSource(kind="url", url=url, sha256="0" * 64, max_bytes=9), root=tmp_path, folder=tmp_path)


def test_redirect_from_outside_into_this_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = {"data.example": "93.184.216.34", "inner.example": "10.0.0.7", "localhost": "127.0.0.1"}
    found = {name: [(None, None, None, "", (address, 0))] for name, address in hosts.items()}
    monkeypatch.setattr("components.sources.web.socket.getaddrinfo", lambda host, _: found[host])
    for inner in ("inner.example", "localhost"):
        with pytest.raises(SourceError, match=f"leads to {inner}, within this machine's own network"):
            check_redirect("https://data.example/rows.csv", f"http://{inner}/secret")
        check_redirect(f"http://{inner}/rows.csv", f"http://{inner}/other")
    check_redirect("http://inner.example/rows.csv", "https://data.example/rows.csv")


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/x", "http://\0/", "http://" + "a" * 300])
def test_address_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceError, match="is no address"):
        fetch(UrlSource(kind="url", url=url, sha256="0" * 64, max_bytes=9), root=tmp_path, folder=tmp_path)


@pytest.mark.parametrize("name", ["..", "%00", "a" * 300, "x/"])
def test_name_in_an_address_may_be_no_name_of_a_file(name: str) -> None:
    assert file_name(f"http://data.example/{name}") in ("download", "x")


def hub(repo: str, pattern: str = "*.parquet") -> HubSource:
    return HubSource(kind="hub", repo=repo, repo_type="dataset", revision=REVISION, pattern=pattern)


def test_local_snapshot_gives_the_files_that_match(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("b.parquet", "a.parquet", "README.md"):
        (tmp_path / "data" / name).write_text(name)
    fetched = fetch(hub("./", "data/*.parquet"), root=tmp_path, folder=tmp_path / "work")
    assert [path.name for path in fetched.paths] == ["a.parquet", "b.parquet"]
    with pytest.raises(SourceError, match=r"no file of ./ matches '\*.csv'; it holds 'data/README.md'"):
        fetch(hub("./", "*.csv"), root=tmp_path, folder=tmp_path / "work")


def test_blobs_of_a_hub_cache_are_checked(tmp_path: Path) -> None:
    content = b"rows"
    names = {hashlib.sha256(content).hexdigest(): "a.parquet", hashlib.sha1(b"blob 4\0rows").hexdigest(): "b.parquet"}
    snapshot = tmp_path / "datasets--x" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (tmp_path / "datasets--x" / "blobs").mkdir()
    for blob, name in names.items():
        (tmp_path / "datasets--x" / "blobs" / blob).write_bytes(content)
        os.symlink(f"../../blobs/{blob}", snapshot / name)
    wanted = hub(f"{tmp_path}/datasets--x")
    assert len(fetch(wanted, root=tmp_path, folder=tmp_path / "work").paths) == 2
    for blob in names:
        path = tmp_path / "datasets--x" / "blobs" / blob
        path.write_bytes(b"evil")
        with pytest.raises(SourceError, match=f"has digest .*, but the hub's is {blob}"):
            fetch(wanted, root=tmp_path, folder=tmp_path / "work")
        path.write_bytes(content)


def test_revision_that_a_cache_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "snapshots" / ("b" * 40)).mkdir(parents=True)
    with pytest.raises(SourceError, match=f"no snapshot of revision {REVISION}; it has 'bbbb"):
        fetch(hub(f"{tmp_path}/"), root=tmp_path, folder=tmp_path / "work")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of 120,000 rows, more than two batches, whose first 60,000 ratings are null."""
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE reviews (id INTEGER, text TEXT, rating REAL)")
        rows = ((i, f"text {i}", None if i < 60_000 else i / 2) for i in range(120_000))
        connection.executemany("INSERT INTO reviews VALUES (?, ?, ?)", rows)
    connection.close()
    monkeypatch.setenv("ROWS_URL", f"sqlite:///{path}")
    return path


def sql(statement: str) -> SqlSource:
    return SqlSource(kind="sql", url_variable="ROWS_URL", statement=statement)


@pytest.mark.usefixtures("database")
def test_rows_of_a_database_come_in_batches_of_one_type(tmp_path: Path) -> None:
    wanted = sql("SELECT text, rating FROM reviews ORDER BY id")
    fetched = fetch(wanted, root=tmp_path, folder=tmp_path / "work")
    assert len(fetched.paths) == 3
    rows = duckdb.execute("FROM read_parquet(?, union_by_name=true)", [[str(path) for path in fetched.paths]])
    assert rows.fetchall()[60_000] == ("text 60000", 30_000.0)
    assert fetch(wanted, root=tmp_path, folder=tmp_path / "work").sha256 == fetched.sha256


def test_statement_changes_nothing_in_the_database(tmp_path: Path, database: Path) -> None:
    with pytest.raises(SourceError, match="gives no rows; it must be a SELECT"):
        fetch(sql("DELETE FROM reviews"), root=tmp_path, folder=tmp_path / "work")
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM reviews").fetchone() == (120_000,)
    connection.close()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT txt FROM reviews", "the database in ROWS_URL failed: no such column: txt"),
        ("SELECT * FROM reviews WHERE id < 0", "the database gave no rows"),
    ],
)
def test_statement_that_fails_is_explained(tmp_path: Path, statement: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        fetch(sql(statement), root=tmp_path, folder=tmp_path / "work")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "the environment variable ROWS_URL is not set"),
        ("hidden-not-a-url", "no URL that can be read"),
        ("postgresql://hidden-user:hidden-word@127.0.0.1:9/hidden-base", "the database in ROWS_URL"),
        ("nosuch://hidden-user:hidden-word@127.0.0.1:9/hidden-base", "the database in ROWS_URL"),
        ("sqlite:////hidden-folder/hidden.db", "the database in ROWS_URL failed: unable to open"),
    ],
)
def test_url_of_a_database_is_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, message: str
) -> None:
    if url is None:
        monkeypatch.delenv("ROWS_URL", raising=False)
    else:
        monkeypatch.setenv("ROWS_URL", url)
    with pytest.raises(SourceError, match=message) as error:
        fetch(sql("SELECT 1"), root=tmp_path, folder=tmp_path / "work")
    assert "hidden" not in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hidden" in path.read_bytes()]
