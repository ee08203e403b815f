import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from components.package.bento import bento_folder, build_bento, fault_of_bento, free_port, serve_command, serving, stop
from components.plumbing.artifacts import read_json
from components.plumbing.errors import ModelyardError
from components.plumbing.processes import start, wait_until_ready
from serving.bundle import BundleError, identify, load_model, verify_bento, verify_bundle
from serving.loading import START
from serving.predictors.explaining import leave_one_out
from serving.requests.keys import add_key
from serving.tasks.text_classification.explaining import explanation
from serving.tasks.text_classification.predictor import Predictor
from tests.patience import PATIENCE_S, wait_until
from tests.serving.bundles import rewrite, with_limits
from tests.slow import SLOW, hanging
from tests.tiny import tiny_rows

TEXTS = [text for text, _ in tiny_rows(24)]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "serve.log"


@pytest.fixture(scope="module")
def client(packaged: Path, log: Path) -> Generator[httpx.Client]:
    package, seen = packaged / "artifacts/tiny/package", packaged / "observations/tiny/package"
    tag = build_bento(package / "bundle", seen / "provenance.json")  # another test may have stored it without
    with (
        serving(tag, ready_timeout_s=60, log=log) as served,
        httpx.Client(base_url=served.url, timeout=PATIENCE_S) as client,
    ):
        yield client


def test_each_text_gets_a_label_and_a_score_for_each_label(client: httpx.Client, packaged: Path) -> None:
    predictor = Predictor.load(packaged / "artifacts/tiny/package/bundle", threads=1)
    response = client.post("/classify", json={"texts": TEXTS})
    assert response.status_code == 200
    for answer, scores in zip(response.json(), predictor.predict(TEXTS).tolist(), strict=True):
        assert answer["scores"] == pytest.approx(dict(zip(predictor.labels, scores, strict=True)), abs=1e-6)
        assert answer["label"] == max(answer["scores"], key=answer["scores"].__getitem__)


def test_answers_do_not_depend_on_who_else_asks(client: httpx.Client) -> None:
    alone = [client.post("/classify", json={"texts": [text]}).json()[0] for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: client.post("/classify", json={"texts": [text]}).json()[0], TEXTS))
    assert together == alone == client.post("/classify", json={"texts": TEXTS}).json()


def test_words_of_a_text_are_weighed_by_the_model_that_is_served(client: httpx.Client, packaged: Path) -> None:
    predictor = Predictor.load(packaged / "artifacts/tiny/package/bundle", threads=1)
    text = "A dull city, but \N{CAT FACE} superb\u0301 music!"
    answer = client.post("/explain", json={"text": text}).json()
    found = explanation(leave_one_out(predictor.predict, text, most=127), predictor.labels)
    assert [piece.pop("effect") for piece in answer["pieces"]] == pytest.approx(
        [piece.pop("effect") for piece in found["pieces"]], abs=3e-6
    )
    assert answer == found | {"score": pytest.approx(found["score"], abs=2e-6)}
    assert answer["label"] == client.post("/classify", json={"texts": [text]}).json()[0]["label"]
    words = [text[piece["start"] : piece["end"]] for piece in answer["pieces"]]
    assert words == ["A", "dull", "city", ",", "but", "\N{CAT FACE}", "superb\u0301", "music", "!"]
    long = client.post("/explain", json={"text": "dull city " * 400}).json()
    assert (long["words_a_piece"], len(long["pieces"])) == (7, -(-800 // 7))
    assert client.post("/explain", json={"text": " \n"}).json()["pieces"] == []


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b'{"texts": ["a"]}', 400, 'the request must be {"text": "a text"}'),
        (b'{"text": ["a"]}', 400, 'text is ["a"]; every text must be a string'),
        (b'{"text": null}', 400, "text is null"),
        (json.dumps({"text": "a" * 20001}).encode(), 400, "text has 20001 characters; at most 20000"),
        (b'{"text": "\\ud800"}', 400, "surrogate"),
        (b"[" * 100_000, 400, "not JSON"),
        (b" " * 5_000_000, 413, "longer than 4000000 bytes"),
    ],
)
def test_bad_text_to_explain_is_refused_in_words(client: httpx.Client, content: bytes, status: int, error: str) -> None:
    response = client.post("/explain", content=content, headers=JSON)
    assert (response.status_code, error in response.json()["error"]) == (status, True), response.text
    assert client.post("/explain", content=b"a", headers={"content-type": "text/plain"}).status_code == 415


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
def test_bad_request_is_refused_in_words(client: httpx.Client, request_: object, error: str) -> None:
    response = client.post("/classify", content=json.dumps(request_).encode(), headers=JSON)
    assert response.status_code == 400
    assert error in response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_request_that_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/classify", content=body, headers=JSON)
    assert response.status_code == 400
    assert "not JSON" in response.json()["error"]


def test_vast_request_is_refused_before_it_is_read(client: httpx.Client) -> None:
    response = client.post("/classify", content=(b" " * 2**20 for _ in range(64)), headers=JSON)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"texts": ["\xff\xfe"]}', 400, "not JSON"),
        (b'{"texts": ["\xed\xa0\x80"]}', 400, "half of a surrogate pair"),
        (b'{"texts": ["a\x00b"]}', 400, "not JSON"),
        (json.dumps({"texts": ["a"] * 10_000}).encode(), 400, "texts has 10000 texts; at most 128"),
        (json.dumps({"texts": ["a" * 10_000_000]}).encode(), 413, "longer than 4000000 bytes"),
        (b'{"texts": ["a"]} {', 400, "not JSON"),
        (b'{"texts": {"0": "a"}}', 400, "the request must be"),
        (b'"texts"', 400, "the request must be"),
        (b'{"texts": [["a"]]}', 400, 'texts[0] is ["a"]'),
        (b'{"texts": [true]}', 400, "texts[0] is true"),
        (b"\x00" * 100, 400, "not JSON"),
    ],
)
def test_bad_bytes_are_refused_in_words(client: httpx.Client, body: bytes, status: int, error: str) -> None:
    response = client.post("/classify", content=body, headers=JSON)
    assert (response.status_code, error in response.json()["error"]) == (status, True), response.text
    assert client.post("/classify", json={"texts": ["a"]}).status_code == 200


def test_nul_and_other_control_characters_are_read_as_space(client: httpx.Client) -> None:
    odd, plain = client.post("/classify", json={"texts": ["warm\x00 story\x1b", "warm story"]}).json()
    assert odd == plain


def test_requests_that_do_not_come_are_not_waited_for_and_take_no_place(
    packaged: Path, bento_home: Path, tmp_path: Path
) -> None:
    limits = {"max_read_ms": 1500, "max_requests": 1}
    tag = with_limits(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle", **limits)
    log, texts = tmp_path / "log", {"texts": ["a"]}
    with serving(tag, ready_timeout_s=60, log=log) as served, ExitStack() as stack:
        url = httpx.URL(served.url)
        assert url.port is not None
        begun = [
            sent.replace(b" /ask ", route)
            for route in (b" /classify ", b" /feedback ")
            for sent in (SLOW["half a header"], SLOW["no body"], SLOW["half a body"])
        ]
        clients = [client for sent in begun for client in stack.enter_context(hanging((url.host, url.port), sent, 5))]
        assert httpx.post(f"{served.url}/classify", json=texts, timeout=PATIENCE_S).status_code == 200
        assert {client.recv(100)[:13] for client in clients} == {b"HTTP/1.1 408 "}
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_other_origins_get_no_leave(client: httpx.Client) -> None:
    asked = {"origin": "http://elsewhere.example", "access-control-request-method": "POST"}
    for response in (
        client.options("/classify", headers=asked),
        client.post("/classify", json={"texts": ["a"]}, headers={"origin": asked["origin"]}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("kind", ["text/plain", "application/vnd.bentoml+pickle", "multipart/form-data"])
def test_other_content_types_are_refused(client: httpx.Client, kind: str) -> None:
    response = client.post("/classify", content=b'{"texts": ["a"]}', headers={"content-type": kind})
    assert response.status_code == 415


def test_empty_text_is_answered(client: httpx.Client) -> None:
    assert client.post("/classify", json={"texts": [""]}).status_code == 200


def test_lineage_is_model_manifest_and_provenance(client: httpx.Client, packaged: Path) -> None:
    report = read_json(packaged / "artifacts/tiny/package/report.json")
    assert client.get("/lineage").json() == {
        "version": report["digest"],
        "build": report["build"],
        "model": read_json(packaged / "artifacts/tiny/package/bundle/model.json"),
        "manifest": read_json(packaged / "artifacts/tiny/package/bundle/manifest.json"),
        "provenance": read_json(packaged / "observations/tiny/package/provenance.json"),
    }


def test_health_and_metrics_answer(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    client.post("/classify", json={"texts": ["a"]})
    metrics = client.get("/metrics").text
    assert 'bentoml_service_request_total{endpoint="/classify",http_response_code="200"' in metrics


def test_another_server_of_the_same_store_leaves_the_metrics_alone(
    client: httpx.Client, packaged: Path, tmp_path: Path
) -> None:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    before = num_counted(client, 200)
    client.post("/classify", json={"texts": ["a"]})
    with (
        serving(tag, ready_timeout_s=60, log=tmp_path / "log") as other,
        httpx.Client(base_url=other.url, timeout=PATIENCE_S) as another,
    ):
        assert another.post("/classify", json={"texts": ["a"]}).status_code == 200
        assert num_counted(another, 200) == 1
    client.post("/classify", json={"texts": ["a"]})
    assert num_counted(client, 200) == before + 2


def num_counted(client: httpx.Client, status: int) -> int:
    """How many answers of a status /metrics tells of."""
    start = f'bentoml_service_request_total{{endpoint="/classify",http_response_code="{status}"'
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(start)]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def test_card_is_plain_text(client: httpx.Client) -> None:
    card = client.get("/card")
    assert card.text.startswith("# tiny")
    assert card.headers["content-type"].startswith("text/plain")


def test_overload_is_turned_away_with_the_time_to_come_again(client: httpx.Client, log: Path) -> None:
    texts = ["dull story " * 40] * 128

    def ask(_: int) -> httpx.Response:
        return client.post("/classify", json={"texts": texts})

    before = num_counted(client, 503)
    with ThreadPoolExecutor(64) as pool:
        responses = list(pool.map(ask, range(256)))
    counts = Counter(response.status_code for response in responses)
    wait_until(lambda: num_counted(client, 503) - before == counts[503])
    assert set(counts) <= {200, 503}
    assert counts[200]
    assert counts[503]
    for response in responses:
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
            assert "overloaded" in response.json()["error"]
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_clients_with_large_requests_and_one_with_small_ones_are_all_answered(client: httpx.Client) -> None:
    large, found = {"texts": ["dull story " * 400] * 128}, [list[int]() for _ in range(4)]
    small, done = list[int](), threading.Event()

    def ask(statuses: list[int]) -> None:
        while not done.is_set():
            response = client.post("/classify", json=large)
            statuses.append(response.status_code)
            if response.status_code == 503:
                time.sleep(int(response.headers["retry-after"]))

    def are_answered() -> bool:
        small.append(client.post("/classify", json={"texts": ["a"]}).status_code)
        return small.count(200) >= 20 and all(200 in statuses for statuses in found)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, statuses) for statuses in found]
        try:
            wait_until(are_answered, lambda: (small, found), every_s=0.1)
        finally:
            done.set()
        for one in asked:
            one.result()
    assert all(200 in statuses[:10] for statuses in found), found
    assert small.count(200) > len(small) / 4, small


def test_service_is_itself_again_after_an_overload(client: httpx.Client) -> None:
    texts = ["dull story " * 40] * 128
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: client.post("/classify", json={"texts": texts}), range(64)))
    wait_until(lambda: client.post("/classify", json={"texts": ["a"]}).status_code == 200)


def test_what_was_accepted_is_answered_after_sigterm(packaged: Path, bento_home: Path, tmp_path: Path) -> None:
    limits = {"max_latency_ms": 1000 * PATIENCE_S, "max_read_ms": 1000 * PATIENCE_S}
    tag = with_limits(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle", **limits)
    num_asked = 4  # which take so long together that the last is seen in the midst of it
    with ThreadPoolExecutor(num_asked) as pool, httpx.Client(timeout=PATIENCE_S) as client:
        with serving(tag, ready_timeout_s=60, log=tmp_path / "log") as served:
            url = served.url

            def ask() -> tuple[int, float]:
                response = client.post(f"{url}/classify", json={"texts": ["dull story " * 1800] * 128})
                return response.status_code, time.monotonic()

            asked = [pool.submit(ask) for _ in range(num_asked)]
            wait_until(lambda: num_open(client, url) + sum(one.done() for one in asked) >= num_asked)
            assert not all(one.done() for one in asked)
            terminated = time.monotonic()
        found = [one.result() for one in asked]
    assert {status for status, _ in found} == {200}
    assert max(answered for _, answered in found) > terminated


def num_open(client: httpx.Client, url: str) -> float:
    """The number of requests to the model that have come and are not answered, by the service's own metrics."""
    found = re.search(r'in_progress\{endpoint="/classify"[^}]*\} ([\d.]+)', client.get(f"{url}/metrics").text)
    return float(found[1]) if found else 0.0


def test_keys_are_asked_for_where_there_are_any(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_key(tmp_path / "keys.json", "shop", scopes=["predict"], per_minute=600)
    monkeypatch.setenv("MODELYARD_KEYS", str(tmp_path / "keys.json"))
    tag, port = read_json(packaged / "artifacts/tiny/package/report.json")["tag"], free_port()
    process = start(serve_command(tag, "127.0.0.1", port), folder=tmp_path, log=tmp_path / "log")
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(process, f"{url}/readyz", name=tag, timeout_s=60, log=tmp_path / "log")
        request: dict[str, Any] = {"json": {"texts": ["a"]}, "timeout": PATIENCE_S}
        assert httpx.post(f"{url}/classify", **request).status_code == 401
        wrong = httpx.post(f"{url}/classify", **request, headers={"authorization": f"Bearer {key}x"})
        assert wrong.status_code == 401
        auth = {"authorization": f"Bearer {key}"}
        assert httpx.post(f"{url}/classify", **request, headers=auth).status_code == 200
        assert httpx.get(f"{url}/lineage", timeout=PATIENCE_S).status_code == 401
        assert httpx.get(f"{url}/metrics", headers=auth, timeout=PATIENCE_S).status_code == 403
    finally:
        stop(process)
    assert key.split("_", 2)[2] not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "told", [{}, {"BENTOML_HOST": "0.0.0.0"}, {"BENTOML_CONFIG_OPTIONS": "api_server.http.host=0.0.0.0"}]
)
def test_open_address_without_keys_is_refused(packaged: Path, tmp_path: Path, told: dict[str, str]) -> None:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    command = serve_command(tag, "0.0.0.0", 1)
    if told:
        place = command.index("--host")
        del command[place : place + 2]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert "refusing to start: 0.0.0.0 can be reached from other machines" in done.stderr
    assert "Traceback" not in done.stderr


def test_requests_are_not_logged(client: httpx.Client, log: Path) -> None:
    client.post("/classify", json={"texts": ["a secret"]})
    text = log.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "/classify" not in text


@pytest.fixture
def stored(packaged: Path, tmp_path: Path) -> Path:
    """A copy of the packaged Bento in a store of its own, without what Python kept of its code."""
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    ignored = shutil.ignore_patterns("__pycache__")
    place = tmp_path / "store/bentos" / tag.replace(":", "/")
    return Path(shutil.copytree(bento_folder(tag), place, ignore=ignored))


def served_by_bentoml(stored: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """What `bentoml serve` does with a Bento that it cannot serve, of a store of its own."""
    return subprocess.run(
        serve_command(tag, "127.0.0.1", free_port()), cwd=stored.parents[3], capture_output=True, text=True,
        timeout=2 * PATIENCE_S, check=False, env=os.environ | {"BENTOML_HOME": str(stored.parents[2])},
    )  # fmt: skip


def test_bento_that_was_changed_in_the_store_is_refused_and_nothing_of_it_is_imported(stored: Path) -> None:
    tag = f"tiny:{stored.name}"
    rewrite(stored / "src", model__onnx=b"another")
    for library in ("tokenizers", "onnxruntime", "uvicorn", "yaml"):
        (stored / f"src/{library}.py").write_text("open('imported', 'w').close()")
    done = served_by_bentoml(stored, tag)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == (
        "refusing to start: onnxruntime.py is no file of the manifest; remove it, or package the model again"
    )
    assert "Traceback" not in done.stderr
    assert not [*stored.parents[3].rglob("imported")]


@pytest.mark.parametrize(
    "name",
    [
        "src/tokenizers.py", "src/sitecustomize.py", "src/onnxruntime/__init__.py", "src/serving/more.py",
        "src/__pycache__/numpy.cpython-311.pyc", "src/data.pth", "tokenizers.py", ".venv/bin/activate",
        "env/python/wheels/tokenizers.whl", "models/evil/model.yaml",
    ],
)  # fmt: skip
def test_file_that_the_manifest_does_not_name_is_found(stored: Path, name: str) -> None:
    verify_bento(stored / "src")
    (stored / name).parent.mkdir(parents=True, exist_ok=True)
    (stored / name).symlink_to("/dev/null")
    with pytest.raises(BundleError, match=re.escape(name.removeprefix("src/"))):
        verify_bento(stored / "src")


@pytest.mark.parametrize(
    ("name", "old", "new", "error"),
    [
        ("src/predictor.json", "{", "{ ", "predictor.json is not the file that was packaged"),
        ("bento.yaml", "version: ", "version: x", "which is not its tag"),
        ("bento.yaml", "name: tiny", "name: other", "which is not its tag"),
        ("env/python/requirements.txt", "bentoml==", "--index-url http://localhost\nbentoml==", "has --index-url"),
        ("env/python/requirements.txt", "tokenizers==", "tokenizer==", "has tokenizer=="),
    ],
)
def test_changed_bento_is_found(stored: Path, name: str, old: str, new: str, error: str) -> None:
    text = (stored / name).read_text()
    assert old in text
    (stored / name).write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match=error):
        verify_bento(stored / "src")


def test_bento_whose_manifest_was_changed_as_well_is_found_and_built_again(
    stored: Path, packaged: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = packaged / "artifacts/tiny/package/bundle"
    rewrite(stored / "src", model__onnx=b"another")
    with pytest.raises(BundleError, match="which is not its tag"):
        verify_bento(stored / "src")
    monkeypatch.setenv("BENTOML_HOME", str(stored.parents[2]))
    assert fault_of_bento(f"tiny:{stored.name}", identify(bundle))
    assert build_bento(bundle, None) == f"tiny:{stored.name}"
    assert "is not what was packaged, and is built again" in caplog.text
    assert fault_of_bento(f"tiny:{stored.name}", identify(bundle)) is None


def test_model_that_cannot_be_loaded_is_said_at_once(packaged: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle")
    tag = build_bento(rewrite(bundle, model__onnx=b"no model"), None)
    with pytest.raises(ModelyardError) as caught, serving(tag, ready_timeout_s=60, log=tmp_path / "log"):
        pass
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"the server of {tag} ended, refusing to start: model.onnx cannot be loaded (")
    assert line.endswith("make it again with 'modelyard run tiny --force compress'")
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", b"{}"), ("predictor.json", b"{"), ("predictor.json", b"{}"), ("model.onnx", b"")],
)
def test_file_that_cannot_be_loaded_is_named(packaged: Path, tmp_path: Path, name: str, content: bytes) -> None:
    bundle = Path(shutil.copytree(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle"))
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} cannot be loaded"):
        Predictor.load(bundle, threads=1)
    (bundle / "model.json").write_text("{")
    with pytest.raises(BundleError, match=r"model\.json cannot be loaded"):
        load_model(bundle)


def test_worker_that_was_killed_while_it_loaded_is_not_started_again_and_again(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = packaged / "artifacts/tiny/package/bundle"
    code = "import os, pathlib, sys, serving.loading as made\nwith made.loading(pathlib.Path(sys.argv[1])):"
    counters = tmp_path / (START % (os.getpid(), psutil.Process().create_time()))
    counters.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counters))
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    try:
        subprocess.run(
            [sys.executable, "-c", f"{code} os.kill(os.getpid(), 9)", bundle], check=False, timeout=2 * PATIENCE_S
        )
        assert not asked
        subprocess.run([sys.executable, "-c", f"{code} pass", bundle], check=False, timeout=2 * PATIENCE_S)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [1]
    assert "was killed; memory is short" in (counters / "not-loaded.txt").read_text()


@pytest.mark.parametrize(("began_before_s", "num_asked"), [(0, 0), (100, 1)])
def test_process_that_loads_is_known_by_its_start_too_since_its_number_is_used_again(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began_before_s: int, num_asked: int
) -> None:
    own = psutil.Process()
    counters = tmp_path / (START % (own.pid, own.create_time()))
    counters.mkdir()
    (counters / f"loading-{START % (own.pid, own.create_time() - began_before_s)}").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counters))
    code = "import pathlib, sys, serving.loading as made\nwith made.loading(pathlib.Path(sys.argv[1])): pass"
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    try:
        bundle = packaged / "artifacts/tiny/package/bundle"
        subprocess.run([sys.executable, "-c", code, bundle], check=False, timeout=2 * PATIENCE_S)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(asked) == num_asked
    assert len(list(counters.glob("loading-*"))) == 1


@pytest.mark.parametrize("name", ["model.onnx", "serving/tasks/text_classification/predictor.py"])
def test_missing_file_is_named(packaged: Path, tmp_path: Path, name: str) -> None:
    bundle = Path(shutil.copytree(packaged / "artifacts/tiny/package/bundle", tmp_path / "bundle"))
    verify_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} of the manifest is missing"):
        verify_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest.json cannot be read"):
        verify_bundle(tmp_path)
