"""The process of one recipe's router: python -m flows.router PROJECT RECIPE. `modelyard up` starts it."""

import logging
import os
import secrets
import sys
from pathlib import Path

import uvloop

from components.monitoring.traffic_log import traffic_environment
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import ModelyardError
from components.recipes import load_recipe
from flows.router.bentos import Launcher
from flows.router.challengers import verdict_file
from flows.router.keeper import RouterPaths
from flows.router.project import Project
from flows.router.run import run_router
from flows.servers.ports import HOST
from serving.log.segments import TRAFFIC, Segments
from serving.log.traffic import read_settings


def main() -> None:
    """Serve until SIGTERM."""
    root, recipe = Path(sys.argv[1]), sys.argv[2]
    prepare_environment(root)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_recipe(root, recipe)
    service = settings.service
    assert service is not None
    traffic = read_settings({**os.environ, **traffic_environment(root, recipe, settings)})
    secret = secrets.token_hex(16)
    state = root / ".modelyard"
    uvloop.run(
        run_router(
            Project(root, recipe),
            launcher=Launcher(root, recipe, settings, secret=secret),
            paths=RouterPaths(
                state=state / "router" / f"{recipe}.json",
                verdict=verdict_file(root, recipe),
                comparisons=state / "canary" / recipe,
                served=state / "router" / f"{recipe}.served.json",
            ),
            host=HOST,
            port=service.port,
            drain_timeout_s=service.drain_timeout_s,
            secret=secret,
            log=None if traffic is None else Segments(traffic.folder, kind=TRAFFIC, rotation=traffic.rotation),
        )
    )


if __name__ == "__main__":
    try:
        main()
    except ModelyardError as error:
        sys.exit(f"modelyard: {error}")
