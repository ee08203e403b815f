"""What `modelyard up` runs for a project: MLflow, Prefect, a router for each served recipe, and the worker."""

import importlib.metadata
import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.environment import PREFECT_SERVER
from components.errors import InputError
from components.params import Service
from components.recipes import PARAMS, load_recipe, load_yaml
from flows.itself import CODE, modelyard
from flows.ports import HOST
from flows.servers import Server, mlflow_server, prefect_server

Kind = Literal["mlflow", "prefect", "router", "worker"]


@dataclass(frozen=True)
class Part:
    """One of them."""

    name: str
    kind: Kind
    server: Server | None
    """None: a server of the user's own, which is looked at and never started or stopped."""
    address: str
    """Empty: it listens nowhere."""
    port: int | None
    option: str
    """What chooses another port."""
    version: str = ""
    stop_s: int = 15
    """It may take so long to end when asked."""


def plan(root: Path, *, mlflow_port: int, prefect_port: int) -> list[Part]:
    """Every part, in the order of the table. InputError where two have one port."""
    parts = [mlflow_part(root, mlflow_port), prefect_part(root, prefect_port), worker_part(root)]
    parts += [router_part(root, recipe, service) for recipe, service in served(root).items()]
    counts = Counter(part.port for part in parts if part.server and part.port)
    for port in (port for port, count in counts.items() if count > 1):
        names = " and ".join(f"{part.name} ({part.option})" for part in parts if part.port == port)
        raise InputError(f"port {port} is given to {names}; each needs its own")
    return parts


def served(root: Path) -> dict[str, Service]:
    """The recipes with `serve: true`."""
    recipes = load_yaml(root / PARAMS)["recipes"]
    chosen = [name for name, raw in recipes.items() if isinstance(raw, dict) and raw.get("serve") is not None]
    loaded = {name: load_recipe(root, name) for name in chosen}
    return {name: recipe.service for name, recipe in loaded.items() if recipe.serve and recipe.service}


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
    """The address of the server that `up` or `ui` runs, as they left it for `modelyard run`."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads((root / PREFECT_SERVER).read_text(encoding="utf-8"))["url"]
    return None


def worker_part(root: Path) -> Part:
    """The schedules; it finds Prefect's server as every command does."""
    server = Server("worker", modelyard(root, "worker"), "", root / ".modelyard" / "logs" / "worker.log")
    return Part("worker", "worker", server, "", None, "", stop_s=45)


def router_part(root: Path, recipe: str, service: Service) -> Part:
    address = f"http://{HOST}:{service.port}"
    command = [*CODE, "flows.up.router", str(root), recipe]
    server = Server(recipe, command, f"{address}/readyz", root / ".modelyard" / "logs" / f"router-{recipe}.log")
    option = f"recipes.{recipe}.service.port in {PARAMS}"
    return Part(recipe, "router", server, address, service.port, option, stop_s=service.drain_timeout_s + 30)
