"""A router in a process of its own, before stand-ins for Bentos: python -m tests.flows.router.routing FOLDER PORT.

FOLDER holds champion.json, challenger.json, rules.json, and refusal.txt where promotion is to say no; the router writes
state.json, verdict.json and comparisons/ there.
"""

import itertools
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import uvloop

from components.package.bento import free_port
from components.plumbing.artifacts import write_json
from components.plumbing.processes import start
from flows.router.bentos import Launcher, Prepared
from flows.router.keeper import RouterPaths
from flows.router.project import Project
from flows.router.run import run_router
from flows.router.trial import Rules
from flows.router.versions import ServedVersion, read_version
from serving.log.segments import TRAFFIC, Rotation, Segments
from tests.patience import PATIENCE_S, wait_until

STAND_IN = Path(__file__).with_name("stand_in.py")


class StandIns(Launcher):
    """Starts stand-ins, in milliseconds, where the router would start Bentos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, version: ServedVersion) -> Prepared:
        spec = json.loads(version.bundle.read_text())
        if spec.get("is_changed"):
            raise ValueError("it is not the bundle that was promoted")
        ready_timeout_s, max_read_s = spec.get("ready_timeout_s", PATIENCE_S), spec.get("max_read_s", PATIENCE_S)
        return Prepared("/classify", max_bytes=2**20, ready_timeout_s=ready_timeout_s, max_read_s=max_read_s)

    def start(self, version: ServedVersion, port: int) -> psutil.Popen:
        command = [sys.executable, str(STAND_IN), str(version.bundle), str(port)]
        return start(command, folder=self.folder, log=self.log_of(version))

    def log_of(self, version: ServedVersion) -> Path:
        return self.folder / f"{version.build}.log"


class Files(Project):
    """A folder in place of a project."""

    def champion(self) -> ServedVersion | None:
        return read_version(self.root / "champion.json", root=self.root)

    def challenger(self) -> ServedVersion | None:
        return read_version(self.root / "challenger.json", root=self.root)

    def rules(self) -> Rules | None:
        path = self.root / "rules.json"
        return Rules(**json.loads(path.read_text())) if path.exists() else None

    def untaken(self) -> ServedVersion | None:
        packaged, named = read_version(self.root / "packaged.json", root=self.root), self.champion()
        is_same = packaged and named and packaged.digest == named.digest
        return packaged if is_same and packaged.build != named.build else None

    def take_build(self) -> str | None:
        if (self.root / "refusal.txt").exists():
            return (self.root / "refusal.txt").read_text()
        version = self.untaken()
        assert version is not None
        name_version(self.root, "champion", version)
        return None

    def promote(self, version: ServedVersion) -> str | None:
        if (self.root / "refusal.txt").exists():
            return (self.root / "refusal.txt").read_text()
        name_version(self.root, "champion", version)
        return None


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    uvloop.run(
        run_router(
            Files(folder, "tiny"),
            launcher=StandIns(folder),
            paths=RouterPaths(
                folder / "state.json", folder / "verdict.json", folder / "comparisons", folder / "served.json"
            ),
            host="127.0.0.1",
            port=port,
            drain_timeout_s=PATIENCE_S,
            secret="secret",
            log=Segments(folder / "traffic", kind=TRAFFIC, rotation=Rotation(2**20, 3600, 4)),
        )
    )


def make_version(folder: Path, number: int, **spec: object) -> ServedVersion:
    """A version whose stand-in answers as `spec` says; its label is its number, unless another is given."""
    bundle = folder / f"{number}.spec"
    bundle.write_text(json.dumps({"label": str(number), **spec}))
    return ServedVersion(str(number), f"digest{number}", f"build{number}", f"tiny:{number}", bundle)


def name_version(folder: Path, role: str, version: ServedVersion) -> None:
    """Write champion.json or challenger.json, as promotion does, or packaged.json."""
    fields = {"version": int(version.version), "digest": version.digest, "build": version.build, "tag": version.tag}
    write_json(folder / f"{role}.json", {**fields, "bundle": str(version.bundle)})


class Router:
    """What a test sees of it."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder, self.process, self.url = folder, process, f"http://127.0.0.1:{port}"
        self.numbers = itertools.count(1)

    def name(self, role: str, **spec: object) -> str:
        """Make a new version champion or challenger; gives its number, which is its label where `spec` has none."""
        number = next(self.numbers)
        name_version(self.folder, role, make_version(self.folder, number, **spec))
        return str(number)

    def serve(self, **spec: object) -> str:
        """The same for a champion, once it is served."""
        number = self.name("champion", **spec)
        self.wait_for_version(number)
        return number

    def package(self, number: str, role: str = "packaged", **spec: object) -> str:
        """Package another build of a version, or give it a role at once; gives the build."""
        bundle = self.folder / f"{number} again.spec"
        bundle.write_text(json.dumps({"label": number, **spec}))
        build = f"build{number} again"
        again = ServedVersion(number, f"digest{number}", build, f"tiny:{number}-again", bundle)
        name_version(self.folder, role, again)
        return build

    def ask(self, num_texts: int = 1, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/classify", json={"texts": ["a"] * num_texts}, headers=headers, timeout=PATIENCE_S
        )

    def label(self) -> str:
        return self.ask().raise_for_status().json()[0]["label"]

    def read(self, name: str) -> dict:
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def wait(self, name: str, key: str, value: object) -> dict:
        """What state.json or verdict.json says, once its `key` is `value`."""

        def seen() -> bool:
            assert self.process.poll() is None, self.log()
            return self.read(name).get(key) == value

        wait_until(seen, lambda: f"{key} is not {value}: {self.read(name)}\n{self.log()}")
        return self.read(name)

    def wait_for_version(self, number: str) -> None:
        wait_until(
            lambda: (self.read("state").get("serving") or {}).get("version") == number,
            lambda: f"{self.read('state')}\n{self.log()}",
        )

    def wait_for_bentos(self, number: int) -> None:
        """Return once so many run; what is stopped may take a moment."""
        children = psutil.Process(self.process.pid).children
        wait_until(lambda: len(children()) == number, lambda: f"{len(children())} run\n{self.log()}")

    def listens(self) -> bool:
        assert self.process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0

    def log(self) -> str:
        return (self.folder / "router.log").read_text()


@contextmanager
def routing(folder: Path) -> Generator[Router]:
    """A router that listens; it ends with the block, and nothing of it is left."""
    port = free_port()
    command = [sys.executable, "-m", "tests.flows.router.routing", str(folder), str(port)]
    with (folder / "router.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    router = Router(folder, process, port)
    try:
        wait_until(router.listens, router.log)
        yield router
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=2 * PATIENCE_S)  # what is still asked is given its time, too


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO)
    main()
