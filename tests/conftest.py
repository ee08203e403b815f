import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from components.environment import prepare_environment
from tests.projects import environment

prepare_environment()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a Prefect server that all tests share."""
    home: Path = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            env=environment(PREFECT_HOME=str(home), PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1"),
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until_it_answers(f"{url}/health", server, home / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.25)
    raise AssertionError(log.read_text())
