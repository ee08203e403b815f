"""serve and ui: servers in the foreground, for this machine only unless there are keys, that end whole with Ctrl-C.

Each server is a process group of its own, so that Ctrl-C reaches it once: from here.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import click
import psutil

from components.artifacts import Layout, verify, write_json
from components.environment import PREFECT_SERVER, has_prefect_profile
from components.errors import ArtifactError, InputError, ModelyardError
from components.monitoring.place import traffic_environment
from components.package.bento import STOP_TIMEOUT_S, build_bento, free_port, serve_command
from components.processes import last_words, started, wait_until_ready
from components.recipes import load_recipe
from flows.keys import has_keys, keys_file
from flows.ports import HOST, check_free, is_free

READY_TIMEOUT_S = 120
POLL_S = 0.2
MLFLOW_SERVER = ".modelyard/mlflow-server.json"
"""Where `modelyard ui` leaves the address of the MLflow server that it runs."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Server:
    """A server that we start."""

    name: str
    command: Sequence[str]
    health: str
    """An address that answers 200 once the server is ready."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it has beside ours."""


def serve_recipe(root: Path, recipe: str, *, port: int, host: str = HOST) -> None:
    """Serve a recipe's bundle until Ctrl-C. ArtifactError without a bundle, BusyError where the port is taken,
    InputError on an address that others reach without keys."""
    settings = load_recipe(root, recipe)
    address = f"http://{reachable(root, host)}:{port}"
    layout = Layout(root, recipe, "package")
    bundle = layout.artifact / "bundle"
    if not bundle.is_dir():
        raise ArtifactError(
            f"{recipe} has no bundle yet; make it with 'modelyard run {recipe}', or bring it here with 'dvc pull'"
        )
    check_free(port, "--port")
    check_bindable(host, port)
    verify(layout.artifact, "bundle/")
    tag = build_bento(bundle, layout.observations / "provenance.json")
    server = Server(
        name=tag,
        command=serve_command(tag, host, port),
        health=f"{address}/readyz",
        log=root / ".modelyard" / "logs" / f"serve-{recipe}.log",
    )
    for variable, value in traffic_environment(root, recipe, settings).items():
        os.environ.setdefault(variable, value)
    with until_interrupted(), running(root, server) as process:
        click.echo(f"{tag} answers on {address} (Ctrl-C ends it). For example:")
        click.echo(f"  {example_command(bundle, address)}")
        click.echo(f"BentoML's own store is {os.environ['BENTOML_HOME']} (BENTOML_HOME, for its own commands).")
        wait_for_any([(server, process)])


def reachable(root: Path, host: str) -> str:
    """The address by which this machine reaches a server on `host`; asks for keys where others reach it, too."""
    from serving.requests.keys import VARIABLE, is_loopback

    try:
        address = ip_address(host)
    except ValueError as error:
        raise InputError(f"--host is '{host}', which is no IP address; 127.0.0.1 is this machine only") from error
    if not is_loopback(host):
        if not has_keys(root):
            raise InputError(
                f"{host} can be reached from other machines, and nobody has a key yet; make one with 'modelyard keys "
                "add CLIENT', or serve on 127.0.0.1"
            )
        os.environ[VARIABLE] = str(keys_file(root))
    if address.is_unspecified:
        return HOST if address.version == 4 else "[::1]"
    return f"[{host}]" if address.version == 6 else host


def check_bindable(host: str, port: int) -> None:
    """InputError where this machine has no such address."""
    if host != HOST and not is_free(port, host=host):
        raise InputError(f"port {port} of {host} cannot be listened on; the address is not of this machine, or in use")


def example_command(bundle: Path, address: str) -> str:
    """A command that asks a served bundle."""
    from serving.bundle import load_about
    from serving.tasks import endpoint_of

    endpoint = endpoint_of(load_about(bundle).task)
    return f"curl -s {address}{endpoint.ROUTE} {endpoint.example(bundle)}"


def open_ui(root: Path, *, mlflow_port: int, prefect_port: int) -> None:
    """Show MLflow and Prefect on this machine until Ctrl-C; a server of the user's own is named and not started."""
    tracking, prefect_api = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("PREFECT_API_URL", "")
    servers: list[tuple[Server, str]] = []
    if tracking.startswith(("http://", "https://")):
        click.echo(f"MLflow   {tracking}  (your own server, by MLFLOW_TRACKING_URI)")
    else:
        check_free(mlflow_port, "--mlflow-port")
        servers.append((mlflow_server(root, mlflow_port), f"http://{HOST}:{mlflow_port}"))
    if prefect_api and not (root / PREFECT_SERVER).exists():
        click.echo(f"Prefect  {prefect_api.removesuffix('/api')}  (your own server, by PREFECT_API_URL)")
    else:
        check_free(prefect_port, "--prefect-port")
        servers.append((prefect_server(root, prefect_port), f"http://{HOST}:{prefect_port}"))
    with until_interrupted(), ExitStack() as stack:
        begun = [(server, stack.enter_context(starting(root, server))) for server, _ in servers]
        for (server, process), (_, address) in zip(begun, servers, strict=True):
            wait_for(server, process)
            click.echo(f"{server.name:8} {address}")
        for server, _ in begun:
            if server.name == "Prefect":
                stack.enter_context(known_to_runs(root / PREFECT_SERVER, f"http://{HOST}:{prefect_port}/api"))
            else:
                stack.enter_context(known_to_runs(root / MLFLOW_SERVER, f"http://{HOST}:{mlflow_port}"))
        if begun:
            click.echo("Ctrl-C ends them." if len(begun) > 1 else "Ctrl-C ends it.")
            wait_for_any(begun)


def mlflow_server(root: Path, port: int) -> Server:
    from components.store import tracking_uri

    command = [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--default-artifact-root", (root / "mlartifacts").as_uri(),
    ]  # fmt: skip
    # Not an option of the command: the address may hold a password, and commands are seen by every user.
    # Its runners of jobs, which nothing here asks for, would be eight more processes of 250 MB.
    environment = {"MLFLOW_BACKEND_STORE_URI": tracking_uri(root), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = root / ".modelyard" / "logs" / "mlflow.log"
    return Server("MLflow", command, f"http://{HOST}:{port}/health", log, environment)


def prefect_server(root: Path, port: int) -> Server:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    # In memory, it would forget with its end who holds the place of a deployment, which would then be held for ever.
    environment = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    log = root / ".modelyard" / "logs" / "prefect.log"
    return Server("Prefect", command, f"http://{HOST}:{port}/api/health", log, environment | page_settings(port))


def page_settings(port: int) -> dict[str, str]:
    """What Prefect's page needs on a port of our choice, and what keeps it from asking for anything elsewhere; what the
    user has set stays.

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
    """Start a Prefect server for the block, unless the user has chosen one; gives what waits until it answers.

    Prefect would start one itself, but only after it is imported itself: this one starts meanwhile. To be entered
    before Prefect is imported.
    """
    if os.environ.get("PREFECT_API_URL") or has_prefect_profile():
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
def known_to_runs(note: Path, url: str) -> Generator[None]:
    """Leave the address where `modelyard run` finds it: runs go to this Prefect server instead of starting one each,
    and link to this MLflow server.
    """
    write_json(note, {"url": url})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


@contextmanager
def running(root: Path, server: Server) -> Generator[psutil.Popen]:
    """A server that is ready, for the block."""
    with starting(root, server) as process:
        wait_for(server, process)
        yield process


@contextmanager
def starting(root: Path, server: Server) -> Generator[psutil.Popen]:
    """The server's process; at the end of the block it is ended, with all that it started."""
    environment = {**os.environ, **server.environment}
    with started(
        server.command, folder=root, log=server.log, environment=environment, stop_timeout_s=STOP_TIMEOUT_S
    ) as process:
        yield process


def wait_for(server: Server, process: subprocess.Popen[bytes] | psutil.Popen) -> None:
    """Return when the server answers; ModelyardError with its last lines where it ends or stays silent."""
    wait_until_ready(process, server.health, name=server.name, timeout_s=READY_TIMEOUT_S, log=server.log)


def wait_for_any(servers: list[tuple[Server, psutil.Popen]]) -> None:
    """Return never: ModelyardError when a server ends of itself."""
    while True:
        for server, process in servers:
            if process.poll() is not None:
                raise ModelyardError(f"{server.name} ended; {last_words(server.log)}")
        time.sleep(POLL_S)


@contextmanager
def until_interrupted() -> Generator[None]:
    """Leave the block without an error on Ctrl-C, on SIGTERM, and when the terminal is closed."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("ended", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
