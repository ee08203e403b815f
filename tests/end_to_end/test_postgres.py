"""A store on Postgres, as a team has it, with a password in its address."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from components.package.bento import free_port
from flows.servers import mlflow_server
from tests.end_to_end.test_outage import running
from tests.projects import make_project, run

USER, PASSWORD = "modelyard", "s3cret-word"


def binary(name: str) -> str | None:
    """Debian keeps Postgres' programs out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="module")
def postgres() -> Generator[str]:
    """The address of a server with a database for MLflow. It refuses to be run by root, so that gives it to another."""
    initdb, pg_ctl = binary("initdb"), binary("pg_ctl")
    if initdb is None or pg_ctl is None:
        assert "NEEDS_POSTGRESQL" not in os.environ, "postgresql is not installed"
        pytest.skip("postgresql is not installed (Debian: apt-get install postgresql)")
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else os.getuid()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            os.chown(path, user, -1)
        ours = {"user": user, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(
            [initdb, "-D", "data", "-U", USER, "--pwfile=password", "-A", "scram-sha-256"], **ours
        )  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        subprocess.run([pg_ctl, "-D", "data", "-l", "log", "-w", "-o", options, "start"], **ours)
        try:
            yield f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([pg_ctl, "-D", "data", "-m", "immediate", "stop"], **ours)


@pytest.mark.timeout(600)
def test_runs_are_kept_in_postgres_and_shown_by_the_server(tmp_path: Path, postgres: str, prefect_api: str):
    root = make_project(tmp_path / "project", num_rows=240)
    (root / ".modelyard/logs").mkdir(parents=True)
    extra = {"MLFLOW_TRACKING_URI": postgres, "PREFECT_API_URL": prefect_api}
    done = run(["modelyard", "run", "tiny", "--until", "validate"], root, **extra)
    assert PASSWORD not in done.stdout + done.stderr
    assert not (root / "mlflow.db").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", postgres)
        server = mlflow_server(root, free_port())
    with running(server):
        address = server.health.rsplit("/health", 1)[0]
        names = httpx.get(f"{address}/ajax-api/2.0/mlflow/experiments/search?max_results=10", timeout=30).json()
        assert "tiny" in [one["name"] for one in names["experiments"]]
    assert PASSWORD not in " ".join(server.command)


def test_wrong_password_is_one_line_without_it(tmp_path: Path, postgres: str, prefect_api: str):
    root = make_project(tmp_path / "project", num_rows=240)
    wrong = {"MLFLOW_TRACKING_URI": postgres.replace(PASSWORD, "wr0ng-word"), "PREFECT_API_URL": prefect_api}
    done = run(["modelyard", "run", "tiny"], root, check=False, **wrong)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("modelyard: the MLflow store postgresql+psycopg://modelyard:***@127")
    assert "wr0ng-word" not in done.stdout + done.stderr
