"""ui: the pages of MLflow and Prefect, in the foreground."""

import os
from contextlib import ExitStack
from pathlib import Path

import click

from components.plumbing.environment import MLFLOW_SERVER, PREFECT_SERVER
from flows.servers.ports import HOST, check_free
from flows.servers.server import Server, starting, until_interrupted, wait_for, wait_for_any
from flows.servers.tools import known_to_runs, make_store, mlflow_server, prefect_server


def open_ui(root: Path, *, mlflow_port: int, prefect_port: int) -> None:
    """Show MLflow and Prefect on this machine until Ctrl-C; a server of the user's own is named and not started."""
    tracking, prefect_api = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("PREFECT_API_URL", "")
    servers: list[tuple[Server, str]] = []
    if tracking.startswith(("http://", "https://")):
        click.echo(f"MLflow   {tracking}  (your own server, by MLFLOW_TRACKING_URI)")
    else:
        check_free(mlflow_port, "--mlflow-port")
        make_store(root)
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
                stack.enter_context(known_to_runs(root, PREFECT_SERVER, f"http://{HOST}:{prefect_port}/api"))
            else:
                stack.enter_context(known_to_runs(root, MLFLOW_SERVER, f"http://{HOST}:{mlflow_port}"))
        if begun:
            click.echo("Ctrl-C ends them." if len(begun) > 1 else "Ctrl-C ends it.")
            wait_for_any(begun)
