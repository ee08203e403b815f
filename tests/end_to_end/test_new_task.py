"""A new task is three folders of its own, a recipe, and an entry of three tables: it is trained, served, logged,
monitored and promoted, and nothing else is touched.

What is added lies in array_scoring/, as it would lie in the project: CONTRIBUTING.md names it as the worked example.
"""

import json
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.package.bento import free_port
from components.plumbing.artifacts import read_json
from components.promotion.ledger import entries
from components.recipes import load_yaml, stages
from serving.log.segments import TRAFFIC, paths_of
from tests.browser import Browser
from tests.end_to_end.adding import insert_before, insert_entry, touched
from tests.patience import PATIENCE_S, wait_until
from tests.processes import at_work
from tests.projects import ROOT, edit, git_commit, make_project, run, write_params

ADDED = Path(__file__).parent / "array_scoring"
NAME = "array_scoring"
LOADERS = {
    "components/tasks/__init__.py": f"""\
def _{NAME}() -> Task:
    from components.tasks.{NAME} import ArrayScoring

    return ArrayScoring()


""",
    "serving/tasks/__init__.py": f"""\
def _{NAME}() -> Endpoint:
    from serving.tasks.{NAME} import endpoint

    return endpoint


""",
}
MODELYARD = [sys.executable, "-m", "flows.cli"]
"""The command, with the code of the copy: the one that is installed has the project's own."""
LOADED = """
import json, sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/odds@champion")
(inputs,), (output,) = model.metadata.signature.inputs.to_dict(), model.metadata.signature.outputs.to_dict()
assert list(inputs["tensor-spec"]["shape"]) == [-1, 8], inputs
assert output["name"] == "probability", output
print(json.dumps(model.predict(np.array(json.loads(sys.argv[2]), np.float64)).to_dict("records")))
"""


def add_task(folder: Path) -> None:
    """Do what CONTRIBUTING.md says."""
    for part in ("components", "serving"):
        shutil.copytree(ADDED / part, folder / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file, loader in LOADERS.items():
        insert_before(folder / file, "TASKS", loader)
        insert_entry(folder / file, "TASKS", f'"{NAME}": _{NAME},')
    sections = folder / "components/params/tasks/__init__.py"
    insert_before(sections, "SECTIONS", f"from components.params.tasks import {NAME}\n\n")
    insert_entry(sections, "SECTIONS", f'"{NAME}": {NAME}.SECTIONS,')
    write_params(folder, load_yaml(ADDED / "params.yaml")["recipes"])


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the task and its recipe."""
    folder = make_project(tmp_path_factory.mktemp("task") / "project")
    add_task(folder)
    return folder


@pytest.fixture(scope="module")
def project(added: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a bundle, which is the champion."""
    folder = Path(shutil.copytree(added, tmp_path_factory.mktemp("made") / "project"))
    for command in (["git", "add", "-A"], git_commit("add a task"), ["dvc", "repro"]):
        run(command, folder)
    return folder


def report(project: Path, stage: str) -> dict[str, Any]:
    return read_json(project / "artifacts/odds" / stage / "report.json")


@pytest.mark.long
def test_nothing_else_is_touched(added: Path) -> None:
    assert touched(added) == [
        f"?? components/params/tasks/{NAME}.py",
        f"?? components/tasks/{NAME}/",
        f"?? serving/tasks/{NAME}/",
        "M components/params/tasks/__init__.py",
        "M components/tasks/__init__.py",
        "M params.yaml",
        "M serving/tasks/__init__.py",
    ]


@pytest.mark.long
def test_what_is_added_is_typed_and_wired_as_the_project_is(added: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(added, tmp_path / "project"))
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests/test_wiring.py", folder / "tests")
    write_params(folder, load_yaml(ROOT / "params.yaml")["recipes"] | load_yaml(folder / "params.yaml")["recipes"])
    places = [f"components/params/tasks/{NAME}.py", f"components/tasks/{NAME}", f"serving/tasks/{NAME}"]
    run(["basedpyright", *places, "components/params/tasks/__init__.py", *LOADERS], folder)
    run(["lint-imports"], folder)
    run([sys.executable, "-m", "pytest", "-q", "tests/test_wiring.py", "-p", "no:cacheprovider"], folder)


@pytest.mark.long
def test_rows_become_a_bundle(project: Path) -> None:
    made = [path.name for path in (project / "artifacts/odds").iterdir() if path.is_dir()]
    assert sorted(made) == sorted(stages())
    evaluated, compressed = report(project, "evaluate"), report(project, "compress")
    assert evaluated["brier"] < evaluated["baseline_brier"] - 0.05
    test = pq.read_table(project / "artifacts/odds/evaluate/results/scores.parquet").to_pydict()
    by_hand = np.mean([(p - y) ** 2 for p, y in zip(test["probability"], test["label_id"], strict=True)])
    assert evaluated["brier"] == pytest.approx(by_hand, abs=1e-6)
    assert compressed["metric"] == "brier"
    assert compressed["quality"] == pytest.approx(evaluated["brier"], abs=1e-4)
    assert report(project, "package")["num_golden"] == 20
    bundle = project / "artifacts/odds/package/bundle"
    assert sorted(path.name for path in (bundle / "serving/tasks").iterdir()) == ["__init__.py", NAME, "examples.py"]
    manifest = read_json(bundle / "manifest.json")
    assert read_json(bundle / "model.json")["is_lower_better"] is True
    gates = {(gate["stage"], gate["figure"]): gate["bound"] for gate in manifest["gates"]}
    assert gates["evaluate", "brier"] == "at most"
    assert "brier" in (bundle / "card.md").read_text(encoding="utf-8")
    assert "<h1>odds: " in (bundle / "report.html").read_text(encoding="utf-8")
    assert "brier 0." in run([*MODELYARD, "recipes"], project, COLUMNS="200").stdout


@contextmanager
def served(project: Path) -> Generator[httpx.Client]:
    """A client of `modelyard serve`."""
    port = free_port()
    with (
        at_work([*MODELYARD, "serve", "odds", "--port", str(port)], project),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):

        def is_ready() -> bool:
            with suppress(httpx.TransportError):
                return client.get("/readyz").is_success
            return False

        wait_until(is_ready, within_s=3 * PATIENCE_S, every_s=0.2)
        yield client


def asked_by_page(browser: Browser, url: str) -> None:
    """A person presses an example, and reads how probable the label is, and that a lower score is better."""
    page = browser.open(f"{url}/")
    page.wait("document.querySelectorAll('#examples button').length")
    page.click("#examples button:last-child")
    page.wait("!document.getElementById('result').hidden")
    assert page.text("#scores").split()[0] == "1"
    assert page.text("#status").startswith("1: ")
    page.wait("document.getElementById('others-hint').textContent")
    assert page.text("#others-title").lower().startswith("brier of the float model")
    assert page.text("#others-hint").startswith("Lower is better.")
    assert page.faults == []


def monitor(project: Path, last: int, *, code: int = 0) -> dict[str, Any]:
    done = run([*MODELYARD, "monitor", "odds", "--last", str(last), "--json"], project, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_it_is_served_logged_and_monitored(project: Path, browser: Browser) -> None:
    test = pq.read_table(project / "artifacts/odds/preprocess/test.parquet").to_pydict()
    arrays, labels = test["values"][:300], test["label"][:300]
    bundle = project / "artifacts/odds/package/bundle"
    with served(project) as client:
        page = client.get("/").text
        assert "how probable the label 1 is" in page
        assert '"route": "/score"' in page
        asked_by_page(browser, str(client.base_url))
        for golden in read_json(bundle / "golden.json"):
            assert client.post(golden["route"], json=golden["request"]).json() == golden["answer"]
        refused = client.post("/score", json={"arrays": [[1.0, 2.0]]})
        assert (refused.status_code, "a list of 8 numbers is taken" in refused.text) == (400, True)
        found: list[float] = []
        for array, label in zip(arrays, labels, strict=True):
            answered = client.post("/score", json={"arrays": [array]})
            found.append(answered.json()[0]["probability"])
            told = {"request_id": answered.headers["x-request-id"], "label": label}
            assert client.post("/feedback", json=told).status_code == 200
    (log,) = paths_of(project / ".modelyard/traffic/odds", TRAFFIC)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    answered_lines = [line for line in lines if line["status"] == 200][-300:]
    assert [line["output"] for line in answered_lines] == [{"probability": one} for one in found]
    assert answered_lines[0]["input"] == pytest.approx(arrays[0])
    steady = monitor(project, 300)
    assert (steady["state"], steady["reasons"]) == ("steady", [])
    right = np.mean([(one > 0.5) == (label == "1") for one, label in zip(found, labels, strict=True)])
    assert steady["quality"]["accuracy"]["value"] == pytest.approx(right)
    with served(project) as client:
        moved = [[value + 3.0 for value in array] for array in arrays]
        for start in range(0, 300, 50):
            answered = client.post("/score", json={"arrays": moved[start : start + 50]})
            assert (answered.status_code, len(answered.json())) == (200, 50)
    assert monitor(project, 300, code=3)["state"] == "drift"


@pytest.mark.long
def test_mlflow_loads_it(project: Path) -> None:
    golden = read_json(project / "artifacts/odds/package/bundle/golden.json")[:5]
    rows = [one["request"]["arrays"][0] for one in golden]
    store = f"sqlite:///{project / 'mlflow.db'}"
    done = run([sys.executable, "-P", "-c", LOADED, store, json.dumps(rows)], project)
    assert json.loads(done.stdout.splitlines()[-1]) == [one["answer"][0] for one in golden]


@pytest.mark.long
def test_a_challenger_that_is_not_worse_is_promoted(project: Path) -> None:
    edit(project, "odds.finetune.seed", 1)
    run(["dvc", "repro"], project)
    run([*MODELYARD, "promote", "odds"], project)
    adopted, promoted = entries(project, "odds")
    assert (adopted["action"], promoted["action"]) == ("adopt", "promote")
    figures = promoted["figures"]
    assert figures["metric"] == "brier"
    assert figures["drop"] == pytest.approx(figures["challenger"] - figures["champion"], abs=1e-5)
    assert figures["drop_high"] <= 0.02
