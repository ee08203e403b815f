"""MLflow's and Prefect's servers: the commands that start them, and how runs find them."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from components.package.bento import free_port
from components.plumbing.artifacts import write_json
from components.plumbing.environment import profile_of_prefect
from flows.servers.ports import HOST
from flows.servers.server import Server, starting, wait_for

PAGES = "modelyard"
"""The entry point in pyproject.toml of MLflow's server with pages that open as model training."""


def mlflow_server(root: Path, port: int) -> Server:
    from components.tracking.store import tracking_uri

    command = [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--default-artifact-root", (root / "mlartifacts").as_uri(),
    ]  # fmt: skip
    if entry_points(group="mlflow.app", name=PAGES):  # not where the project is newer than what was installed of it
        command += ["--app-name", PAGES]
    # Not an option of the command: the address may hold a password, and commands are seen by every user.
    # Its runners of jobs, which nothing here asks for, would be eight more processes of 250 MB.
    environment = {"MLFLOW_BACKEND_STORE_URI": tracking_uri(root), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = root / ".modelyard" / "logs" / "mlflow.log"
    return Server("MLflow", command, f"http://{HOST}:{port}/health", log, environment)


def make_store(root: Path) -> None:
    """Make MLflow's own database where it is not there yet, before a server opens it: a run may do so at the same time,
    and only ours wait for each other."""
    from components.tracking.store import check_store, tracking_uri

    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        check_store(root)


def prefect_server(root: Path, port: int) -> Server:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    # In memory, it would forget with its end who holds the place of a deployment, which would then be held for ever.
    environment = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    log = root / ".modelyard" / "logs" / "prefect.log"
    return Server("Prefect", command, f"http://{HOST}:{port}/api/health", log, environment | page_settings(port))


def page_settings(port: int) -> dict[str, str]:
    """Return the settings that Prefect's page needs on a port of our choice, and that keep it from asking for anything
    elsewhere; what the user has set stays.

    Its second version asks an analytics host on each load, whatever is set, so the first one is what opens.
    """
    wanted = {
        "PREFECT_SERVER_UI_API_URL": os.environ.get("PREFECT_UI_API_URL", f"http://{HOST}:{port}/api"),
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


@contextmanager
def prefect_for_a_run(root: Path) -> Generator[Callable[[], None]]:
    """Start a Prefect server for the block, unless the user has chosen one; yield a function
    that waits until it answers.

    Prefect would start one itself, but only after it is imported itself: this one starts meanwhile. To be entered
    before Prefect is imported.
    """
    if os.environ.get("PREFECT_API_URL") or profile_of_prefect()[1]:
        yield lambda: None
        return
    address = f"http://{HOST}:{free_port()}"
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    os.environ.setdefault("PREFECT_UI_ENABLED", "0")
    factory = ["--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level", "error"]
    command = [sys.executable, "-m", "uvicorn", *factory, "--host", HOST, "--port", address.rsplit(":", 1)[-1]]
    server = Server("Prefect", command, f"{address}/api/health", root / ".modelyard" / "logs" / "prefect-run.log")
    with starting(root, server) as process:
        yield lambda: wait_for(server, process)


@contextmanager
def known_to_runs(root: Path, note: str, url: str) -> Generator[None]:
    """Leave the address where `modelyard run` finds it: runs go to this Prefect server instead of starting one each,
    and link to this MLflow server.
    """
    note_server(root, note, url)
    try:
        yield
    finally:
        (root / note).unlink(missing_ok=True)


def note_server(root: Path, note: str, url: str) -> None:
    """Write the address of a server down, for the project in this folder: a copy of it, or where it is moved to, has
    another."""
    write_json(root / note, {"url": url, "folder": str(root.resolve())})
