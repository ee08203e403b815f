import json
import os
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Completed

from components.plumbing.artifacts import writing
from components.plumbing.environment import PREFECT_SERVER
from flows.servers.ports import holder_of, is_free
from tests.browser import Browser, Page
from tests.conftest import free_port
from tests.patience import PATIENCE_S, wait_until
from tests.projects import environment, make_project, run

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 40


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("servers") / "project", num_rows=20)


@contextmanager
def started(folder: Path, *words: str, expect: str, **extra: str) -> Generator[subprocess.Popen[str]]:
    """`modelyard` in the background, once it has printed `expect`; interrupted at the end, and then wholly gone."""
    out = folder / "out.txt"
    with out.open("w") as file:
        process = subprocess.Popen(
            ["modelyard", *words], cwd=folder, env=environment(**extra), stdout=file, stderr=file, text=True,
            start_new_session=True,
        )  # fmt: skip

    def has_printed() -> bool:
        said = out.read_text()
        assert process.poll() is None, said
        return expect in said

    try:
        wait_until(has_printed, out.read_text, within_s=START_TIMEOUT_S)
        children = psutil.Process(process.pid).children(recursive=True)
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=STOP_TIMEOUT_S) == 0, out.read_text()
        assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_TIMEOUT_S)


HERE = ("http://127.0.0.1:", "file:///", "data:", "blob:")
"""How the addresses begin of what is on this machine."""


def see(browser: Browser, url: str, wanted: str) -> Page:
    """Open a page with an empty profile, wait until it shows `wanted`, and hold it to asking this machine only."""
    page = browser.open(url)
    page.wait(f"document.body.innerText.includes({json.dumps(wanted)})")
    page.run("new Promise(done => setTimeout(done, 500))")  # what is asked once all is shown
    assert page.requests
    assert [one for one in page.requests if not one.split(" ")[1].startswith(HERE)] == []
    return page


@pytest.mark.long
def test_ui_shows_both_pages_and_ends_both(project: Path, browser: Browser) -> None:
    mlflow, prefect = free_port(), free_port()
    words = ["ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect)]
    with started(project, *words, expect="Ctrl-C"):
        printed = (project / "out.txt").read_text()
        assert f"MLflow   http://127.0.0.1:{mlflow}\n" in printed
        assert f"Prefect  http://127.0.0.1:{prefect}\n" in printed
        assert "mlflow" in httpx.get(f"http://127.0.0.1:{mlflow}/", timeout=PATIENCE_S).text.lower()
        assert httpx.get(f"http://127.0.0.1:{prefect}/api/health", timeout=PATIENCE_S).json() is True
        # Prefect's own client asks again where a busy SQLite file makes the server say 503.
        with SyncPrefectClient(f"http://127.0.0.1:{prefect}/api") as client:
            client.create_flow_run(Flow(lambda: None, name="pipeline"), name="run-to-be-seen", state=Completed())
        for path in ("/", "/dashboard", "/runs"):
            see(browser, f"http://127.0.0.1:{prefect}{path}", "run-to-be-seen" if path == "/runs" else "Dashboard")
        see(browser, f"http://127.0.0.1:{mlflow}/#/experiments", "Model registry")  # for GenAI, the menu has none
        assert f":{prefect}/api" in (project / PREFECT_SERVER).read_text()
        done = run(["modelyard", *words], project, check=False)
        assert done.returncode == 1
        assert f"port {mlflow} is in use by " in done.stderr
        assert "(process " in done.stderr
        assert "--mlflow-port" in done.stderr
    assert is_free(mlflow)
    assert is_free(prefect)
    assert not (project / PREFECT_SERVER).exists()


def test_ui_names_servers_of_the_users_own(project: Path) -> None:
    done = run(
        ["modelyard", "ui"], project,
        MLFLOW_TRACKING_URI="http://mlflow.invalid", PREFECT_API_URL="http://prefect.invalid/api",
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "MLflow   http://mlflow.invalid  (your own server, by MLFLOW_TRACKING_URI)",
        "Prefect  http://prefect.invalid  (your own server, by PREFECT_API_URL)",
    ]


def test_server_that_cannot_start_is_explained_by_its_own_words(project: Path) -> None:
    done = run(
        ["modelyard", "ui", "--mlflow-port", str(free_port())], project, check=False,
        MLFLOW_TRACKING_URI="nonsense://", PREFECT_API_URL="http://prefect.invalid/api",
    )  # fmt: skip
    assert done.returncode == 1
    assert "modelyard: MLflow ended; the last lines of " in done.stderr
    assert "nonsense" in done.stderr


def test_serve_without_a_bundle_says_how_to_get_one(project: Path) -> None:
    done = run(["modelyard", "serve", "tiny"], project, check=False)
    assert done.returncode == 2
    assert "tiny has no bundle yet" in done.stderr
    assert "'modelyard run tiny'" in done.stderr
    assert "'dvc pull'" in done.stderr


def test_serve_on_a_port_in_use_names_the_process(project: Path) -> None:
    (project / "artifacts" / "tiny" / "package" / "bundle").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert holder_of(port).endswith(f"(process {os.getpid()})")
        done = run(["modelyard", "serve", "tiny", "--port", str(port)], project, check=False)
    assert done.returncode == 1
    assert f"port {port} is in use by " in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert "--port" in done.stderr


def test_bundle_that_was_changed_is_not_served(project: Path) -> None:
    with writing(project / "artifacts" / "tiny" / "package") as folder:
        (folder / "bundle").mkdir()
        (folder / "bundle" / "model.onnx").write_bytes(b"measured")
    (project / "artifacts" / "tiny" / "package" / "bundle" / "model.onnx").write_bytes(b"tampered")
    done = run(["modelyard", "serve", "tiny", "--port", str(free_port())], project, check=False)
    assert done.returncode == 2
    assert "model.onnx is not the file that was recorded" in done.stderr
