"""A fix of the service's code: another build of the same version, served within seconds, without a gate.

The service is mended in a copy of the project while `modelyard up` serves it and a client asks it.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.monitoring.windows import read_window
from components.package.bento import free_port
from components.plumbing.artifacts import read_json
from components.promotion.ledger import entries, verify
from components.tracking.store import open_registry
from flows.servers.records import records, stop
from serving.log.segments import TRAFFIC, paths_of
from tests.patience import PATIENCE_S, wait_until
from tests.projects import edit, git_commit, make_project, run, tiny_recipe, write_params

ENDPOINT = "serving/tasks/text_classification/endpoint.py"
BEFORE, AFTER = "texts is empty; send at least one text", "texts is an empty list; send at least one text"
LIMIT_S = 120


@pytest.fixture
def project(tmp_path: Path) -> Generator[tuple[Path, Any, str]]:
    """A project of its own code, the environment of its commands, and the address of its service."""
    root = make_project(tmp_path / "project")
    port = free_port()
    recipe = tiny_recipe()
    recipe["service"]["port"] = port
    write_params(root, {"tiny": recipe})
    extra = {
        "PYTHONPATH": str(root),
        "BENTOML_HOME": str(tmp_path / "bentos"),
        "MODELYARD_MLFLOW_PORT": str(free_port()),
        "MODELYARD_PREFECT_PORT": str(free_port()),
    }
    with ExitStack() as stack:
        stack.callback(lambda: [stack.callback(stop, root, record) for record in records(root).values()])
        yield root, extra, f"http://127.0.0.1:{port}"


def package(root: Path, extra: Any) -> dict[str, Any]:
    """The report of package, after a run that had to make or bring nothing else."""
    done = json.loads(run(["modelyard", "run", "tiny", "--json"], root, **extra).stdout)
    states = {stage["stage"]: stage["state"] for stage in done["stages"]}
    assert {state for stage, state in states.items() if stage != "package"} == {"cached"}, states
    return read_json(root / "artifacts/tiny/package/report.json")


@contextmanager
def asking(address: str, texts: list[str]) -> Generator[Counter[str]]:
    """Ask all the while; gives how often each answer came, by its JSON."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
            while not over.is_set():
                response = client.post("/classify", json={"texts": texts})
                seen[response.text if response.is_success else f"{response.status_code} {response.text}"] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
        assert thread.is_alive()
    finally:
        over.set()
        thread.join()


def wait_for(is_there: Callable[[], bool], root: Path) -> None:
    log = root / ".modelyard/logs/router-tiny.log"
    wait_until(is_there, lambda: log.read_text()[-5000:], within_s=LIMIT_S, every_s=0.2)


def complaint(address: str) -> str:
    return httpx.post(f"{address}/classify", json={"texts": []}, timeout=PATIENCE_S).text


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_mended_service_is_served_as_another_build_of_the_same_version(
    project: tuple[Path, Any, str],
) -> None:
    root, extra, address = project
    run(["modelyard", "run", "tiny"], root, **extra)
    first = read_json(root / "artifacts/tiny/package/report.json")
    for command in (["git", "add", "-A"], git_commit("first")):
        run(command, root)
    run(["modelyard", "up"], root, **extra)
    assert BEFORE in complaint(address)
    golden = read_json(root / "artifacts/tiny/package/bundle/golden.json")
    texts = [text for one in golden for text in one["request"]["texts"]][:8]

    with asking(address, texts) as seen:
        wait_for(lambda: seen.total() > 10, root)
        endpoint = root / ENDPOINT
        endpoint.write_text(endpoint.read_text().replace(BEFORE, AFTER))
        mended = package(root, extra)
        wait_for(lambda: AFTER in complaint(address), root)
        assert (mended["digest"], mended["build"] != first["build"]) == (first["digest"], True)
        asked = seen.total()
        wait_for(lambda: seen.total() > asked + 10, root)
    assert len(seen) == 1, seen  # no request failed, and the answers stayed

    lineage = httpx.get(f"{address}/lineage", timeout=PATIENCE_S).json()
    assert (lineage["version"], lineage["build"]) == (mended["digest"], mended["build"])
    for one in golden:
        answer = httpx.post(f"{address}{one['route']}", json=one["request"], timeout=PATIENCE_S)
        assert answer.json() == one["answer"]
    adopted, rebuilt = entries(root, "tiny")
    assert (adopted["action"], rebuilt["action"]) == ("adopt", "build")
    assert (rebuilt["from"]["build"], rebuilt["to"]["build"]) == (first["build"], mended["build"])
    assert rebuilt["figures"]["num_golden"] == len(golden)
    assert verify(root) == []
    (version,) = open_registry(root, "tiny").versions()
    assert (version.number, version.digest, version.build) == (1, mended["digest"], mended["build"])
    status = json.loads(run(["modelyard", "status", "--json"], root, **extra).stdout)
    (row,) = [part for part in status["parts"] if part["name"] == "tiny"]
    assert (row["state"], row["version"]) == ("ok", f"1 {mended['tag']}")

    folder = root / ".modelyard/traffic/tiny"
    lines = [json.loads(line) for log in paths_of(folder, TRAFFIC) for line in log.read_text().splitlines()]
    assert {line["version"] for line in lines} == {first["digest"][:12]}
    assert {line["build"] for line in lines} == {first["build"][:12], mended["build"][:12]}
    window = read_window(folder, last=len(lines), since=None, newest=100)  # monitoring looks at the model
    assert window is not None
    assert len(window.rows) == sum(line["status"] == 200 for line in lines)

    run(["git", "checkout", "-q", ENDPOINT], root)
    assert package(root, extra)["build"] == first["build"]  # from DVC's run cache
    wait_for(lambda: BEFORE in complaint(address), root)
    assert [entry["action"] for entry in entries(root, "tiny")] == ["adopt", "build", "build"]

    edit(root, "tiny.package.serving.max_texts", 9)  # a limit is the service's, too
    narrower = package(root, extra)
    status_url, ten = f"{address}/status", {"texts": ["a"] * 10}
    wait_for(lambda: httpx.get(status_url, timeout=PATIENCE_S).json()["build"] == narrower["build"][:12], root)
    assert httpx.post(f"{address}/classify", json=ten, timeout=PATIENCE_S).status_code == 400
    assert len(open_registry(root, "tiny").versions()) == 1
