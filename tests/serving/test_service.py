import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from components.artifacts import read_json
from components.package.bento import serve_command, serving
from serving.bundle import BundleError, verify_bundle
from serving.predictors.text_classification import Predictor
from tests.tiny import tiny_rows

TEXTS = [text for text, _ in tiny_rows(24)]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "serve.log"


@pytest.fixture(scope="module")
def client(packaged: Path, log: Path) -> Generator[httpx.Client]:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    with (
        serving(tag, ready_timeout_s=60, log=log) as served,
        httpx.Client(base_url=served.url, timeout=30) as client,
    ):
        yield client


def test_each_text_gets_a_label_and_a_score_for_each_label(client: httpx.Client, packaged: Path):
    predictor = Predictor.load(packaged / "artifacts/tiny/package/bundle", threads=1)
    response = client.post("/classify", json={"texts": TEXTS})
    assert response.status_code == 200
    for answer, scores in zip(response.json(), predictor.predict(TEXTS).tolist(), strict=True):
        assert answer["scores"] == pytest.approx(dict(zip(predictor.labels, scores, strict=True)), abs=1e-6)
        assert answer["label"] == max(answer["scores"], key=answer["scores"].__getitem__)


def test_answers_do_not_depend_on_who_else_asks(client: httpx.Client):
    alone = [client.post("/classify", json={"texts": [text]}).json()[0] for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: client.post("/classify", json={"texts": [text]}).json()[0], TEXTS))
    assert together == alone == client.post("/classify", json={"texts": TEXTS}).json()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"texts": []}, "texts is empty"),
        ({"texts": ["a"] * 129}, "texts has 129 texts; at most 128"),
        ({"texts": ["a", "b" * 20001]}, r"texts[1] has 20001 characters; at most 20000"),
        ({"texts": "a"}, "the request must be"),
        ({"texts": ["a", 1]}, "texts[1] is 1; every text must be a string"),
        ({"texts": [None]}, "texts[0] is null"),
        ({"text": ["a"]}, "the request must be"),
        ({"texts": ["a"], "more": 1}, "nothing else"),
        ([], "the request must be"),
        ({"texts": ["\ud800"]}, "surrogate"),
    ],
)
def test_bad_request_is_refused_in_words(client: httpx.Client, request_: object, error: str):
    response = client.post("/classify", content=json.dumps(request_).encode(), headers=JSON)
    assert response.status_code == 400
    assert error in response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_request_that_is_not_json_is_refused(client: httpx.Client, body: bytes):
    response = client.post("/classify", content=body, headers=JSON)
    assert response.status_code == 400
    assert "not JSON" in response.json()["error"]


def test_vast_request_is_refused_before_it_is_read(client: httpx.Client):
    response = client.post("/classify", content=(b" " * 2**20 for _ in range(64)), headers=JSON)
    assert response.status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/vnd.bentoml+pickle", "multipart/form-data"])
def test_other_content_types_are_refused(client: httpx.Client, kind: str):
    response = client.post("/classify", content=b'{"texts": ["a"]}', headers={"content-type": kind})
    assert response.status_code == 415


def test_empty_text_is_answered(client: httpx.Client):
    assert client.post("/classify", json={"texts": [""]}).status_code == 200


def test_lineage_is_manifest_and_provenance(client: httpx.Client, packaged: Path):
    assert client.get("/lineage").json() == {
        "manifest": read_json(packaged / "artifacts/tiny/package/bundle/manifest.json"),
        "provenance": read_json(packaged / "observations/tiny/package/provenance.json"),
    }


def test_health_and_metrics_answer(client: httpx.Client):
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    client.post("/classify", json={"texts": ["a"]})
    metrics = client.get("/metrics").text
    assert 'endpoint="/classify"' in metrics
    assert "adaptive_batch_size" in metrics


def test_card_is_plain_text(client: httpx.Client):
    card = client.get("/card")
    assert card.text.startswith("# tiny")
    assert card.headers["content-type"].startswith("text/plain")


def test_overload_is_turned_away_with_the_time_to_come_again(client: httpx.Client, log: Path):
    texts = ["dull story " * 40] * 128

    def ask(_: int) -> httpx.Response:
        return client.post("/classify", json={"texts": texts})

    with ThreadPoolExecutor(64) as pool:
        responses = list(pool.map(ask, range(256)))
    counts = Counter(response.status_code for response in responses)
    assert set(counts) <= {200, 503}
    assert counts[200]
    assert counts[503]
    for response in responses:
        if response.status_code == 503:
            assert response.headers["retry-after"] == "1"
            assert "overloaded" in response.json()["error"]
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_requests_are_not_logged(client: httpx.Client, log: Path):
    client.post("/classify", json={"texts": ["a secret"]})
    text = log.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "/classify" not in text


def test_service_refuses_to_start_with_another_file_than_was_packaged(packaged: Path, bento_home: Path, tmp_path: Path):
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    stored = bento_home / "bentos" / tag.replace(":", "/")
    broken = Path(shutil.copytree(stored, stored.with_name("broken")))
    try:
        with (broken / "src/predictor.json").open("a") as file:
            file.write(" ")
        command = serve_command("tiny:broken", "127.0.0.1", 1)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.rmtree(broken)
    assert done.returncode != 0
    assert "refusing to start: predictor.json is not the file that was packaged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.onnx", "serving/predictors/text_classification.py"])
def test_missing_file_is_named(packaged: Path, tmp_path: Path, name: str):
    bundle = Path(shutil.copytree(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle"))
    verify_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} of the manifest is missing"):
        verify_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: str):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest.json cannot be read"):
        verify_bundle(tmp_path)
