"""The process of one recipe's router: python -m flows.up.router PROJECT RECIPE. `modelyard up` starts it.

It hands serving/router what that may not know: the project's files, BentoML's store, and `modelyard promote`.
"""

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import uvloop

from components.artifacts import Layout, read_json, sha256_of
from components.environment import prepare_environment
from components.errors import ArtifactError, ModelyardError
from components.monitoring.place import traffic_environment
from components.package.bento import (
    bento_folder,
    build_bento,
    end_with_parent,
    free_port,
    remove_bento,
    serve_command,
    stop,
    tag_of,
)
from components.params import Canary, Recipe
from components.promotion.champions import challenger_file, champion_file
from components.recipes import PARAMS, load_recipe
from components.registry import fault_of
from flows.itself import modelyard
from flows.ports import HOST
from flows.up.challengers import asked_file, verdict_file
from flows.up.processes import last_line
from serving.bundle import MANIFEST, load_about
from serving.router.bentos import Launcher, Prepared
from serving.router.keeper import UNDER_WAY, Places, Wishes
from serving.router.run import run_router
from serving.router.trial import Rules
from serving.router.versions import Version, read_version
from serving.segments import TRAFFIC, Segments
from serving.tasks import endpoint_of
from serving.traffic import SHADOW, read_settings

logger = logging.getLogger(__name__)

PROMOTE_TIMEOUT_S = 1800
LARGE_REQUEST_BYTES = 64 * 2**20
"""Where a bundle of another release says its limits otherwise; its service keeps them in any case."""


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
            wishes_of(root, recipe),
            launcher=launcher_of(root, recipe, secret=secret),
            places=Places(state / "router" / f"{recipe}.json", verdict_file(root, recipe), state / "canary" / recipe),
            host=HOST,
            port=service.port,
            drain_timeout_s=service.drain_timeout_s,
            secret=secret,
            log=None if traffic is None else Segments(traffic.folder, kind=TRAFFIC, rotation=traffic.rotation),
        )
    )


def wishes_of(root: Path, recipe: str) -> Wishes:
    """What the project's files say."""
    return Wishes(
        champion=champion_of(root, recipe),
        challenger=challenger_of(root, recipe),
        rules=lambda: rules_of(root, recipe),
        promote=lambda version: promote(root, recipe, version),
    )


def champion_of(root: Path, recipe: str) -> Callable[[], Version | None]:
    """Who is champion: whom promotion names, and before it has named one, the bundle that is packaged at the start."""
    path = champion_file(root, recipe)
    bundle = Layout(root, recipe, "package").artifact / "bundle"
    packaged: list[Version] = []

    def champion() -> Version | None:
        named = read_version(path, root=root)
        if named is not None:
            return named
        if not packaged and (bundle / MANIFEST).is_file():
            packaged.append(Version("", sha256_of(bundle / MANIFEST), tag_of(bundle), bundle))
        return packaged[0] if packaged else None

    return champion


def challenger_of(root: Path, recipe: str) -> Callable[[], Version | None]:
    """Who is to be tried: who was asked for; else, where the recipe tries every challenger, whom promotion names."""
    settings = recipe_now(root, recipe)

    def challenger() -> Version | None:
        asked = read_version(asked_file(root, recipe), root=root)
        if asked is not None and not is_decided(root, recipe, asked):
            return asked
        named = read_version(challenger_file(root, recipe), root=root)
        promotion = settings().promotion if named is not None else None
        return named if promotion is not None and promotion.then == "trial" else None

    return challenger


def is_decided(root: Path, recipe: str, version: Version) -> bool:
    """Whether the trial of a version has ended, or it became champion meanwhile."""
    champion = read_version(champion_file(root, recipe), root=root)
    if champion is not None and champion.digest == version.digest:
        return True
    with suppress(ArtifactError):
        verdict = read_json(verdict_file(root, recipe))
        return verdict.get("digest") == version.digest and verdict.get("state") not in UNDER_WAY
    return False


def recipe_now(root: Path, recipe: str) -> Callable[[], Recipe]:
    """The recipe as params.yaml has it now, read again where the file has changed: reading it takes long."""
    read: dict[int, Recipe] = {}

    def now() -> Recipe:
        changed = (root / PARAMS).stat().st_mtime_ns
        if changed not in read:
            read.clear()
            read[changed] = load_recipe(root, recipe)
        return read[changed]

    return now


def rules_of(root: Path, recipe: str) -> Rules | None:
    """`service.canary`, as params.yaml has it now."""
    service = load_recipe(root, recipe).service
    canary = service.canary if service else None
    return Rules(**canary.model_dump()) if isinstance(canary, Canary) else None


def promote(root: Path, recipe: str, version: Version) -> str | None:
    """Ask promotion to make a challenger the champion; gives why it does not."""
    command = modelyard(root, "promote", recipe, "--version", version.version, "--cause", "its trial on requests")
    try:
        done = subprocess.run(
            command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROMOTE_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"'modelyard promote' took longer than {PROMOTE_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"'modelyard promote' ended with {done.returncode}: {lines[-1] if lines else 'it said nothing'}"


def launcher_of(root: Path, recipe: str, *, secret: str) -> Launcher:
    """How this project's Bentos are made and started."""
    layout, logs = Layout(root, recipe, "package"), root / ".modelyard" / "logs"
    settings = load_recipe(root, recipe)

    def log_of(version: Version) -> Path:
        return logs / f"bento-{recipe}-{version.digest[:12]}.log"

    def start(version: Version, port: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **traffic_environment(root, recipe, settings),
            SHADOW: secret,
        }
        logs.mkdir(parents=True, exist_ok=True)
        with log_of(version).open("wb") as log:
            return subprocess.Popen(
                serve_command(version.tag, HOST, port), cwd=logs, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, preexec_fn=end_with_parent(),
            )  # fmt: skip

    return Launcher(
        prepare=lambda version: prepare(
            version,
            provenance=layout.observations / "provenance.json",
            ready_timeout_s=settings.package.ready_timeout_s,
        ),
        start=start,
        stop=stop,
        said=lambda version: last_line(log_of(version)),
        free_port=free_port,
    )


def prepare(version: Version, *, provenance: Path, ready_timeout_s: float) -> Prepared:
    """Put a version's Bento into the store. ArtifactError where its bundle is not the one that was promoted.

    The bundle's folder may be gone: what was built from it serves as well, where it is unharmed.
    """
    stored = bento_folder(version.tag) / "src"
    if version.bundle.is_dir() or fault_of(stored, version.digest, is_served=True) is not None:
        if fault := fault_of(version.bundle, version.digest):
            raise ArtifactError(f"the bundle of {version.name} is not the one that was promoted: {fault}")
        if fault_of(stored, version.digest, is_served=True) is not None:
            remove_bento(version.tag)
            built = build_bento(version.bundle, provenance)
            if built != version.tag:
                remove_bento(built)
                raise ArtifactError(f"the bundle of {version.name} gives the Bento {built}; promote a version again")
    return described(stored, ready_timeout_s=ready_timeout_s)


def described(bundle: Path, *, ready_timeout_s: float) -> Prepared:
    """What the router must know of a bundle."""
    about = load_about(bundle)
    endpoint = endpoint_of(about.task)
    most = LARGE_REQUEST_BYTES
    limits: Any = endpoint.Limits  # a dataclass, which its protocol cannot say
    if {limit.name for limit in fields(limits)} == set(about.limits):  # those of another release may differ
        most = max(endpoint.max_bytes(bundle, endpoint.Limits(**about.limits)).values())
    return Prepared(endpoint.ROUTE, most, ready_timeout_s)


if __name__ == "__main__":
    try:
        main()
    except ModelyardError as error:
        sys.exit(f"modelyard: {error}")
