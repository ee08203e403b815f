"""The registered model, loaded by MLflow alone: its alias, and nothing of the project but what the model carries."""

import json
import os
import shutil
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.package.bento import free_port
from components.plumbing.artifacts import read_json, sha256_of
from components.tracking.registry import CHAMPION, fault_of
from components.tracking.stage_run import stage_run
from components.tracking.store import open_registry
from tests.patience import PATIENCE_S, wait_until
from tests.projects import environment
from tests.tiny_bundles import as_before
from tests.tiny_language import write_language_bundle

LOADED = """
import json, sys

BLOCKED = {"bentoml", "components", "datasketch", "dvc", "flows", "great_expectations", "onnx", "prefect", "torch",
           "transformers"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not in the model's requirements")

sys.meta_path.insert(0, Blocker())
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tiny@champion")
import serving
assert "/code/serving" in serving.__file__, serving.__file__
given = json.loads(open(sys.argv[2]).read())
answers = [
    json.loads(model.predict(rows, params=params).to_json(orient="records", double_precision=15))
    for rows, params in ((as_rows(one), params) for one, params in given)
]
print("ANSWERS" + json.dumps(answers))
"""
AS_ROWS = """
import numpy as np, pandas as pd
def as_rows(one):
    return np.array(one["arrays"], np.float64) if "arrays" in one else pd.DataFrame(one)
"""
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop")


def register(root: Path, bundle: Path) -> None:
    weights = root / "weights"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_text("weights")
    with stage_run(root, "tiny", "package") as run:
        assert run.register_model(bundle, weights=weights)["version"] == "1"


def asked(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A golden request as the rows and parameters of the signature."""
    if "texts" in request:
        return {"text": request["texts"]}, None
    if "prompt" in request:
        return {"prompt": [request["prompt"]]}, {key: request[key] for key in SAMPLING if key in request}
    if "seed" in request:
        return {"seed": [request["seed"]], "count": [request["count"]]}, None
    return request, None


def answers_in(root: Path, golden: list[dict[str, Any]], python: str, home: Path) -> list[Any]:
    given = home / "given.json"
    given.write_text(json.dumps([asked(one["request"]) for one in golden]))
    home.joinpath("ask.py").write_text(AS_ROWS + LOADED)
    kept = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-P", "ask.py", f"sqlite:///{root / 'mlflow.db'}", str(given)],
        cwd=home, env=kept, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    return json.loads(line.removeprefix("ANSWERS"))


def expected(one: dict[str, Any]) -> Any:
    """What the service answers to a golden request, as records."""
    answer = one["answer"]
    if "seed" in one["request"] and "count" in one["request"]:
        return [{"images": answer}]
    return answer if isinstance(answer, list) else [answer]


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def language(tmp_path: Path, bento_home: Path) -> Path:
    """A project with the bundle of a tiny language model."""
    write_language_bundle(tmp_path / "language")
    return tmp_path / "language"


LONG = [pytest.param(task, marks=pytest.mark.long) for task in ("packaged_arrays", "generator_bundle", "language")]


@pytest.mark.parametrize("project", ["packaged", *LONG])
def test_alias_loads_without_the_project_and_answers_as_the_bundle(
    project: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = request.getfixturevalue(project)
    bundle = root / "artifacts/tiny/package/bundle"
    register(tmp_path / "store", bundle)
    golden = read_json(bundle / "golden.json")[:5]
    assert golden
    home = tmp_path / "elsewhere"
    home.mkdir()
    assert answers_in(tmp_path / "store", golden, sys.executable, home) == [expected(one) for one in golden]
    registry = open_registry(tmp_path / "store", "tiny")
    champion = registry.at(CHAMPION)
    assert champion is not None
    registry.bring(champion, tmp_path / "brought")  # what loading left beside it is no part of the bundle
    assert fault_of(tmp_path / "brought", champion.identity) is None


def test_registry_shows_schema_card_figures_and_requirements(packaged: Path, tmp_path: Path) -> None:
    from mlflow.models import Model

    bundle = packaged / "artifacts/tiny/package/bundle"
    register(tmp_path, bundle)
    client = open_registry(tmp_path, "tiny").client
    version = client.get_model_version_by_alias("tiny", CHAMPION)
    card = (bundle / "card.md").read_text()
    assert version.description == client.get_registered_model("tiny").description == card
    logged = client.get_logged_model(version.tags["modelyard.model_id"])
    assert (logged.status, logged.model_type, logged.source_run_id) == ("READY", "text_classification", version.run_id)
    figures = {metric.key: metric.value for metric in logged.metrics}
    assert figures["accuracy"] == read_json(bundle / "model.json")["metrics"]["evaluate"]["accuracy"]
    assert figures["served_size_ratio"] > 0
    folder = Path(version.source.removeprefix("file://"))
    described = Model.load(folder)
    assert described.signature.inputs.input_names() == ["text"]
    assert described.signature.outputs.input_names() == ["label", "scores"]
    assert described.saved_input_example_info is not None
    needed = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert needed == {"mlflow", "numpy", "onnxruntime", "pandas", "tokenizers"}
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")]


def test_version_of_before_without_a_model_is_still_brought(packaged: Path, tmp_path: Path) -> None:
    bundle = as_before(Path(shutil.copytree(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle")))
    with stage_run(tmp_path, "tiny", "package") as run:
        client = run.store.client
        client.log_artifacts(run.run_id, str(bundle), "bundle")
        client.create_registered_model("tiny")
        source = f"{client.get_run(run.run_id).info.artifact_uri}/bundle"
        client.create_model_version("tiny", source, run.run_id, tags={"digest": sha256_of(bundle / "manifest.json")})
    registry = open_registry(tmp_path, "tiny")
    registry.bring(registry.version(1), tmp_path / "brought")
    assert fault_of(tmp_path / "brought", registry.version(1).identity) is None
    registry.crown(registry.version(1))
    assert registry.at(CHAMPION) == registry.version(1)


@pytest.mark.long
def test_alias_loads_in_an_environment_with_its_requirements_alone(packaged: Path, tmp_path: Path) -> None:
    bundle = packaged / "artifacts/tiny/package/bundle"
    register(tmp_path / "store", bundle)
    version = open_registry(tmp_path / "store", "tiny").at(CHAMPION)
    assert version is not None
    venv.create(tmp_path / "bare", with_pip=True)
    python = str(tmp_path / "bare/bin/python")
    needed = Path(version.source.removeprefix("file://")) / "requirements.txt"
    lock = Path(__file__).parents[3] / "requirements.lock"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", needed, "-c", lock], check=True, timeout=580)
    golden = read_json(bundle / "golden.json")
    home = tmp_path / "elsewhere"
    home.mkdir()
    assert answers_in(tmp_path / "store", golden, python, home) == [expected(one) for one in golden]


@pytest.mark.long
def test_mlflow_serves_the_alias(packaged: Path, tmp_path: Path) -> None:
    bundle = packaged / "artifacts/tiny/package/bundle"
    register(tmp_path / "store", bundle)
    golden, port = read_json(bundle / "golden.json")[:3], free_port()
    uri = f"sqlite:///{tmp_path / 'store/mlflow.db'}"
    command = ["mlflow", "models", "serve", "-m", f"models:/tiny@{CHAMPION}", "--env-manager", "local"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=tmp_path, stdout=log, stderr=log,
            env=environment(MLFLOW_TRACKING_URI=uri) | {"PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            with suppress(httpx.HTTPError):
                return httpx.get(f"{url}/ping", timeout=PATIENCE_S).is_success
            return False

        wait_until(answers, within_s=3 * PATIENCE_S, every_s=0.2)
        for one in golden:
            records = [{"text": text} for text in one["request"]["texts"]]
            answer = httpx.post(f"{url}/invocations", json={"dataframe_records": records}, timeout=PATIENCE_S)
            assert answer.json() == {"predictions": one["answer"]}
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=PATIENCE_S)
