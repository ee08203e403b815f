"""A store on Postgres, as a team has it, with a password in its address."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.package.bento import free_port
from flows.servers.tools import mlflow_server
from tests.patience import PATIENCE_S, wait_until
from tests.processes import answering
from tests.projects import make_project, run

USER, PASSWORD = "modelyard", "s3cret-word"


def binary(name: str) -> str | None:
    """Debian keeps Postgres' programs out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="module")
def postgres() -> Generator[str]:
    """The address of a server with a database for MLflow. It refuses to be run by root, so that gives it to another."""
    initdb, postgres_ = binary("initdb"), binary("postgres")
    if initdb is None or postgres_ is None:
        assert "NEEDS_POSTGRESQL" not in os.environ, "postgresql is not installed"
        pytest.skip("postgresql is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(dir="/tmp") as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        who: dict[str, Any] = {"cwd": folder}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            who |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (folder, folder / "password"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        how = ["--encoding=UTF8", "--locale=C", "--no-sync", "--auth=scram-sha-256", "--pwfile=password"]
        made = subprocess.run(
            [initdb, "-D", "data", "-U", USER, *how], **who, check=False, capture_output=True, text=True
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        options = [f"-p{port}", "-clisten_addresses=127.0.0.1", "-cunix_socket_directories=", "-cfsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([postgres_, "-D", "data", *options], **who, stdout=log, stderr=log)
        stack.callback(server.wait)
        stack.callback(server.send_signal, signal.SIGQUIT)  # at once
        wait_for_port(port, server, folder / "log")
        yield f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"


def wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    def listens() -> bool:
        assert server.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
            return True
        return False

    wait_until(listens, log.read_text, every_s=0.1)


@pytest.mark.timeout(600)
@pytest.mark.long
def test_runs_are_kept_in_postgres_and_shown_by_the_server(tmp_path: Path, postgres: str, prefect_api: str) -> None:
    root = make_project(tmp_path / "project", num_rows=240)
    extra = {"MLFLOW_TRACKING_URI": postgres, "PREFECT_API_URL": prefect_api}
    done = run(["modelyard", "run", "tiny", "--until", "validate"], root, **extra)
    assert PASSWORD not in done.stdout + done.stderr
    assert not (root / "mlflow.db").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", postgres)
        server = mlflow_server(root, free_port())
    with answering(server):
        address = server.health.rsplit("/health", 1)[0]
        names = httpx.get(f"{address}/ajax-api/2.0/mlflow/experiments/search?max_results=10", timeout=PATIENCE_S).json()
        assert "tiny" in [one["name"] for one in names["experiments"]]
    assert PASSWORD not in " ".join(server.command)


def test_wrong_password_is_one_line_without_it(tmp_path: Path, postgres: str, prefect_api: str) -> None:
    root = make_project(tmp_path / "project", num_rows=240)
    wrong = {"MLFLOW_TRACKING_URI": postgres.replace(PASSWORD, "wr0ng-word"), "PREFECT_API_URL": prefect_api}
    done = run(["modelyard", "run", "tiny"], root, check=False, **wrong)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("modelyard: the MLflow store postgresql+psycopg://modelyard:***@127")
    assert "wr0ng-word" not in done.stdout + done.stderr
