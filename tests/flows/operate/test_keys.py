import json
import socket
from pathlib import Path

import pytest

from flows.operate.doctor import look_at_keys
from tests.projects import ROOT, run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def test_key_is_printed_once_and_listed_without_its_secret(project: Path) -> None:
    added = run(
        ["modelyard", "keys", "add", "shop", "--scope", "admin", "--per-minute", "60", "--expires", "9"], project
    )
    key = added.stdout.strip()
    assert key.startswith("my_")
    listed = run(["modelyard", "keys", "list", "--json"], project).stdout
    (entry,) = json.loads(listed)["keys"]
    assert (entry["client"], entry["scopes"], entry["per_minute"]) == ("shop", ["admin"], 60)
    secret = key.split("_", 2)[2]
    kept = "".join(path.read_text() for path in (project / ".modelyard").rglob("*.json"))
    assert not [text for text in (listed, added.stderr, kept) if secret in text]
    listed = run(["modelyard", "keys", "list"], project).stdout
    assert ("shop" in listed, "(soon)" in listed) == (True, True)
    (check,) = look_at_keys(project)
    assert (check.state, "shop " in check.found, "(soon)" in check.found) == ("warn", True, True)
    again = run(["modelyard", "keys", "add", "shop"], project, check=False)
    assert (again.returncode, "'shop' has a key already" in again.stderr) == (2, True)
    run(["modelyard", "keys", "remove", "shop"], project)
    assert "nobody has a key" in run(["modelyard", "keys", "list"], project).stdout
    gone = run(["modelyard", "keys", "remove", "shop"], project, check=False)
    assert (gone.returncode, "'shop' has no key" in gone.stderr) == (2, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "198.51.100.7"])
def test_open_address_is_not_served_without_keys(project: Path, host: str) -> None:
    done = run(["modelyard", "serve", "movie_sentiment", "--host", host], project, check=False)
    assert done.returncode == 2
    assert f"{host} can be reached from other machines, and nobody has a key yet" in done.stderr


def test_host_must_be_an_address(project: Path) -> None:
    done = run(["modelyard", "serve", "movie_sentiment", "--host", socket.gethostname()], project, check=False)
    assert (done.returncode, "which is no IP address" in done.stderr) == (2, True)
