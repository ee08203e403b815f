import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

from components.params import RegistrySource
from components.plumbing.artifacts import sha256_of
from components.plumbing.errors import SourceError, UnreachableError
from components.sources import fetch, fetch_folder

SETUP = "import pathlib\npathlib.Path({marker!r}).write_text('ran')\nfrom setuptools import setup\nsetup(name='rows')\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives that pip is told to look into, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with zipfile.ZipFile(folder / "rows-1.0.zip", "w") as archive:
        archive.writestr("rows-1.0/setup.py", SETUP.format(marker=str(tmp_path / "ran")))
        archive.writestr("rows-1.0/data/rows.csv", "text,label\na,b\n")
    with zipfile.ZipFile(folder / "rows-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("rows/model/config.json", "{}")
    return folder


def source(archive: Path, kind: Literal["wheel", "sdist"], member: str, version: str = "1.0") -> RegistrySource:
    return RegistrySource(
        kind="pypi", package="rows", version=version, sha256=sha256_of(archive), archive=kind, member=(member,)
    )


def test_sdist_is_fetched_by_pip_and_nothing_of_it_runs(index: Path, tmp_path: Path) -> None:
    sdist = source(index / "rows-1.0.zip", "sdist", "rows-1.0/data/rows.csv")
    fetched = fetch(sdist, root=tmp_path, folder=tmp_path / "work")
    assert fetched.paths[0].read_text() == "text,label\na,b\n"
    assert fetched.sha256 == sdist.sha256
    assert not (tmp_path / "ran").exists()


def test_wheel_gives_a_folder(index: Path, tmp_path: Path) -> None:
    wheel = source(index / "rows-1.0-py3-none-any.whl", "wheel", "rows/model/")
    folder = fetch_folder(wheel, root=tmp_path, folder=tmp_path / "work")
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_folder_is_needed_where_a_folder_is_used(index: Path, tmp_path: Path) -> None:
    wheel = source(index / "rows-1.0-py3-none-any.whl", "wheel", "rows/model/config.json")
    with pytest.raises(SourceError, match="a folder is needed, with '/' at its end"):
        fetch_folder(wheel, root=tmp_path, folder=tmp_path / "work")


def test_download_is_kept_and_needs_the_registry_once(index: Path, tmp_path: Path) -> None:
    sdist = source(index / "rows-1.0.zip", "sdist", "rows-1.0/data/rows.csv")
    fetch(sdist, root=tmp_path, folder=tmp_path / "work")
    shutil.rmtree(index)
    assert fetch(sdist, root=tmp_path, folder=tmp_path / "work").paths[0].is_file()


def test_damaged_download_is_fetched_again(index: Path, tmp_path: Path) -> None:
    sdist = source(index / "rows-1.0.zip", "sdist", "rows-1.0/data/rows.csv")
    fetch(sdist, root=tmp_path, folder=tmp_path / "work")
    kept = tmp_path / ".modelyard" / "downloads" / sdist.sha256 / "rows-1.0.zip"
    kept.write_bytes(b"PK damaged")
    assert fetch(sdist, root=tmp_path, folder=tmp_path / "work").paths[0].read_text().startswith("text")
    assert sha256_of(kept) == sdist.sha256


def test_wrong_sha256_stops_before_the_archive_is_opened(index: Path, tmp_path: Path) -> None:
    wanted = source(index / "rows-1.0.zip", "sdist", "rows-1.0/data/rows.csv")
    wrong = wanted.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(SourceError, match=f"has sha256 {wanted.sha256}, but the recipe expects {'0' * 64}"):
        fetch(wrong, root=tmp_path, folder=tmp_path / "work")
    assert not list((tmp_path / ".modelyard" / "downloads").iterdir())
    assert not list((tmp_path / "work").iterdir())


def test_version_that_the_registry_lacks_is_named_with_those_it_has(index: Path, tmp_path: Path) -> None:
    missing = source(index / "rows-1.0.zip", "sdist", "x", version="2.0")
    with pytest.raises(
        SourceError, match=r"pypi rows 2.0 could not be fetched: .*no sdist; versions that have one: 1.0"
    ):
        fetch(missing, root=tmp_path, folder=tmp_path / "work")


def test_unreachable_index_is_named(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del index
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    unreachable = RegistrySource(
        kind="pypi", package="rows", version="1.0", sha256="0" * 64, archive="sdist", member=("x",)
    )
    with pytest.raises(UnreachableError, match=r"Could not fetch URL http://127\.0\.0\.1:9/simple"):
        fetch(unreachable, root=tmp_path, folder=tmp_path / "work")


@contextmanager
def npm_registry(tarball: bytes) -> Generator[str]:
    """A registry that holds one release of `@scope/rows`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = tarball
            if not self.path.endswith(".tgz"):
                release = {
                    "name": "@scope/rows", "version": "1.0.0",
                    "dist": {"tarball": f"{url}/rows.tgz", "shasum": hashlib.sha1(tarball).hexdigest()},
                }  # fmt: skip
                body = json.dumps({
                    "name": "@scope/rows", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": release}
                }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield url
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_archive_is_fetched_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in {
            "package/package.json": '{"name": "@scope/rows", "version": "1.0.0"}',
            "package/a.txt": "a",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with npm_registry(made.getvalue()) as url:
        for name, value in {"registry": url, "cache": str(tmp_path / "npm"), "update_notifier": "false"}.items():
            monkeypatch.setenv(f"npm_config_{name}", value)
        wanted = RegistrySource(
            kind="npm", package="@scope/rows", version="1.0.0", sha256=hashlib.sha256(made.getvalue()).hexdigest(),
            archive="tgz", member=("package/*.txt",),
        )  # fmt: skip
        assert fetch(wanted, root=tmp_path, folder=tmp_path / "work").paths[0].read_text() == "a"
        missing = wanted.model_copy(update={"version": "9.9.9", "sha256": "1" * 64})
        with pytest.raises(SourceError, match=r"npm @scope/rows 9\.9\.9 could not be fetched: npm error notarget"):
            fetch(missing, root=tmp_path, folder=tmp_path / "work")
