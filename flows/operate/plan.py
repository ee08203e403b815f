"""The parts that `modelyard up` runs for a project: MLflow, Prefect, a router for each
served recipe, and the worker."""

import importlib.metadata
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.params import Service
from components.plumbing.environment import PREFECT_SERVER, noted_server
from components.plumbing.errors import InputError, ParamsError
from components.recipes import PARAMS, load_recipe, load_yaml
from flows.servers.own_command import CODE, modelyard
from flows.servers.ports import HOST, MLFLOW_PORT, PREFECT_PORT
from flows.servers.records import Record, records
from flows.servers.server import Server
from flows.servers.tools import mlflow_server, prefect_server

Kind = Literal["mlflow", "prefect", "router", "worker"]
SHARED = ("mlflow", "prefect", "worker")
"""The names of the parts that belong to no recipe."""


@dataclass(frozen=True)
class Part:
    """A server or process that `modelyard up` looks after."""

    name: str
    kind: Kind
    server: Server | None
    """The server to start; None for one of the user's own, which is looked at and never started or stopped."""
    address: str
    """The address that it listens on; empty where it listens nowhere."""
    port: int | None
    option: str
    """The option or setting that chooses another port."""
    version: str = ""
    stop_s: int = 15
    """Seconds that it may take to end when asked."""
    fault: str = ""
    """The faults of its recipe; with any it is not started, and what runs of it runs on."""


def plan(root: Path, *, mlflow_port: int | None, prefect_port: int | None) -> list[Part]:
    """Return every part, in the order of the table, on the given port or else that of its record. InputError
    where two parts have one port."""
    known = records(root)
    parts = [
        mlflow_part(root, mlflow_port or port_of(known.get("mlflow")) or MLFLOW_PORT),
        prefect_part(root, prefect_port or port_of(known.get("prefect")) or PREFECT_PORT),
        worker_part(root),
    ]
    for recipe, service in served(root, known).items():
        if isinstance(service, ParamsError):
            parts.append(faulty_part(root, recipe, service, known.get(recipe)))
        else:
            parts.append(router_part(root, recipe, service))
    counts = Counter(part.port for part in parts if part.server and part.port)
    for port in (port for port, count in counts.items() if count > 1):
        names = " and ".join(f"{part.name} ({part.option})" for part in parts if part.port == port)
        raise InputError(f"port {port} is given to {names}; each needs its own")
    return parts


def port_of(record: Record | None) -> int | None:
    return record.port if record else None


def served(root: Path, known: Mapping[str, Record]) -> dict[str, Service | ParamsError]:
    """Return, by recipe with `serve: true`, its section `service` or the ParamsError of its faults. Where the file
    cannot be read, its error stands for all that run."""
    try:
        recipes = load_yaml(root / PARAMS)["recipes"]
    except ParamsError as error:
        return dict.fromkeys([PARAMS, *(name for name in known if name not in SHARED)], error)
    found: dict[str, Service | ParamsError] = {}
    for name, raw in recipes.items():
        if not isinstance(raw, dict) or raw.get("serve") in (None, False):
            continue
        try:
            recipe = load_recipe(root, name)
        except ParamsError as error:
            found[name] = error
        else:
            if recipe.serve and recipe.service:
                found[name] = recipe.service
    return found


def check_recipes(root: Path) -> None:
    """Raise ParamsError with every fault for which a recipe is not served."""
    faults = [str(one) for one in served(root, records(root)).values() if isinstance(one, ParamsError)]
    if faults:
        raise ParamsError("\n".join(dict.fromkeys(faults)))


def mlflow_part(root: Path, port: int) -> Part:
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if tracking.startswith(("http://", "https://")):
        return Part("mlflow", "mlflow", None, tracking, None, "MLFLOW_TRACKING_URI")
    version, address = importlib.metadata.version("mlflow"), f"http://{HOST}:{port}"
    return Part("mlflow", "mlflow", mlflow_server(root, port), address, port, "--mlflow-port", version)


def prefect_part(root: Path, port: int) -> Part:
    given = os.environ.get("PREFECT_API_URL", "")
    if given and given != noted_prefect(root):
        return Part("prefect", "prefect", None, given.removesuffix("/api"), None, "PREFECT_API_URL")
    version, address = importlib.metadata.version("prefect"), f"http://{HOST}:{port}"
    return Part("prefect", "prefect", prefect_server(root, port), address, port, "--prefect-port", version)


def noted_prefect(root: Path) -> str | None:
    """Return the address of the Prefect server that `up` or `ui` runs, as they noted it for
    `modelyard run`; None without one."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return noted_server(root, PREFECT_SERVER)
    return None


def worker_part(root: Path) -> Part:
    """Return the worker's part, which runs the schedules; it finds Prefect's server as every command does."""
    server = Server("worker", modelyard(root, "worker"), "", root / ".modelyard" / "logs" / "worker.log")
    return Part("worker", "worker", server, "", None, "", stop_s=45)


def faulty_part(root: Path, recipe: str, error: ParamsError, record: Record | None) -> Part:
    address = record.address if record else ""
    server = Server(recipe, [], f"{address}/readyz", root / ".modelyard" / "logs" / f"router-{recipe}.log")
    return Part(recipe, "router", server, address, None, PARAMS, fault=" ".join(str(error).split()))


def router_part(root: Path, recipe: str, service: Service) -> Part:
    address = f"http://{HOST}:{service.port}"
    command = [*CODE, "flows.router", str(root), recipe]
    server = Server(recipe, command, f"{address}/readyz", root / ".modelyard" / "logs" / f"router-{recipe}.log")
    option = f"recipes.{recipe}.service.port in {PARAMS}"
    return Part(recipe, "router", server, address, service.port, option, stop_s=service.drain_timeout_s + 30)
