import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil
import pytest

from components.package.bento import serving
from components.plumbing.artifacts import read_json
from components.plumbing.processes import family
from serving.log.segments import paths_of
from serving.log.traffic import read_settings
from serving.tasks import endpoint_of
from serving.tasks.text_generation.endpoint import LAST_EVENT
from tests.patience import PATIENCE_S, wait_until
from tests.tiny import tiny_rows

TEXTS = [text for text, _ in tiny_rows(8)]
JSON = {"content-type": "application/json"}


@contextmanager
def served(project: Path, folder: Path | None, **more: str) -> Generator[httpx.Client]:
    """A client of the project's Bento, which logs into `folder`."""
    given = {"MODELYARD_TRAFFIC": str(folder), "MODELYARD_TRAFFIC_INPUT": "text"} if folder else {}
    tag = read_json(project / "artifacts/tiny/package/report.json")["tag"]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODELYARD_TRAFFIC", raising=False)
        for name, value in (given | more).items():
            patch.setenv(name, value)
        log = project.parent / f"{project.name}.log"
        with (
            serving(tag, ready_timeout_s=60, log=log) as found,
            httpx.Client(base_url=found.url, timeout=PATIENCE_S) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traffic")


@pytest.fixture(scope="module")
def client(packaged: Path, folder: Path) -> Generator[httpx.Client]:
    with served(packaged, folder) as client:
        yield client


def rows(folder: Path, kind: str = "traffic") -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths_of(folder, kind) for line in path.read_bytes().splitlines()]


def rows_of(folder: Path, request_id: str) -> list[dict[str, Any]]:
    return [row for row in rows(folder) if row["request_id"] == request_id]


def feedback(client: httpx.Client, **given: Any) -> httpx.Response:
    return client.post("/feedback", json=given)


def test_each_text_is_one_line_with_its_answer(client: httpx.Client, folder: Path, packaged: Path) -> None:
    response = client.post("/classify", json={"texts": TEXTS})
    found = rows_of(folder, response.headers["x-request-id"])
    assert [row["input"] for row in found] == TEXTS
    assert [row["output"] for row in found] == response.json()
    assert [row["item"] for row in found] == list(range(len(TEXTS)))
    report = read_json(packaged / "artifacts/tiny/package/report.json")
    for row in found:
        assert (row["items"], row["status"], row["route"]) == (len(TEXTS), 200, "/classify")
        assert (row["version"], row["build"]) == (report["digest"][:12], report["build"][:12])
        assert row["length"] == len(row["input"])
        assert row["latency_ms"] > 0


def test_log_is_read_by_duckdb(client: httpx.Client, folder: Path) -> None:
    client.post("/classify", json={"texts": ["lovely é 日本 \u0000 \n film"]}, headers={"x-request-id": "duck"})
    found = duckdb.execute(
        "SELECT input, output.label, latency_ms, time FROM read_json(?, format = 'newline_delimited') "
        "WHERE request_id = 'duck'",
        [f"{folder}/traffic-*.jsonl"],
    ).fetchall()
    assert found[0][0] == "lovely é 日本 \u0000 \n film"
    assert found[0][1] in ("negative", "positive")


@pytest.mark.parametrize(
    ("given", "is_kept"), [("client-7.a_B", True), ("a" * 65, False), ("a b", False), ('"x', False), ("", False)]
)
def test_a_short_token_of_the_client_is_the_id(client: httpx.Client, given: str, is_kept: bool) -> None:
    response = client.post("/classify", json={"texts": ["a"]}, headers={"x-request-id": given})
    assert (response.headers["x-request-id"] == given) == is_kept
    assert len(response.headers["x-request-id"]) <= 64


def test_refused_request_is_a_line_without_input(client: httpx.Client, folder: Path) -> None:
    response = client.post("/classify", json={"texts": ["secret", 1]})
    assert response.status_code == 400
    (row,) = rows_of(folder, response.headers["x-request-id"])
    assert (row["status"], row["input"], row["output"], row["items"]) == (400, None, None, 1)


def test_requests_turned_away_unread_are_one_line_a_second(packaged: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    with served(packaged, tmp_path) as client, ThreadPoolExecutor(32) as pool:
        texts = ["dull story " * 40] * 128
        asked = pool.map(lambda _: client.post("/classify", json={"texts": texts}), range(400))
        counts = Counter(response.status_code for response in asked)
    took_s = time.monotonic() - begun  # the server ends within it, and logs what it has only counted so far
    found = rows(tmp_path)
    assert set(counts) == {200, 503}
    assert sum(row["requests"] for row in found if row["status"] == 503) == counts[503]
    assert 1 <= sum(row["requests"] > 1 for row in found) <= took_s + 1
    assert {row["requests"] for row in found if row["status"] == 200} == {1}


def test_only_the_routers_own_comparisons_are_left_out(packaged: Path, tmp_path: Path) -> None:
    with served(packaged, tmp_path, MODELYARD_SHADOW="secret") as client:
        for number, given in enumerate([b"secret", b"guess", b"", "é".encode()]):
            headers = {b"x-modelyard-shadow": given, b"x-request-id": b"%d" % number}
            assert client.post("/classify", json={"texts": ["a"]}, headers=headers).status_code == 200
    assert [row["request_id"] for row in rows(tmp_path)] == ["1", "2", "3"]


def test_status_says_that_the_log_is_on(client: httpx.Client) -> None:
    client.post("/classify", json={"texts": ["a"]})
    status = client.get("/status").json()
    assert status["traffic"]["state"] == "on"
    assert status["traffic"]["written"] >= 1
    assert status["traffic"]["lost"] == 0
    assert status["feedback"]["state"] == "on"


def test_purpose_that_a_client_says_is_kept(client: httpx.Client, folder: Path) -> None:
    client.post("/classify", json={"texts": ["a"]}, headers={"x-request-id": "why", "modelyard-purpose": "words"})
    client.post("/classify", json={"texts": ["a"]}, headers={"x-request-id": "why2", "modelyard-purpose": "a, b"})
    assert [rows_of(folder, name)[0]["purpose"] for name in ("why", "why2")] == ["words", None]


def test_status_tells_the_last_verdict(client: httpx.Client, folder: Path) -> None:
    assert client.get("/status").json()["drift"] is None
    verdict = {"state": "steady", "reasons": [], "num_rows": 300}
    (folder / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    assert client.get("/status").json()["drift"] == verdict
    (folder / "verdict.json").write_text("{", encoding="utf-8")
    assert client.get("/status").json()["drift"] is None
    (folder / "verdict.json").unlink()


def test_feedback_joins_its_request(client: httpx.Client, folder: Path) -> None:
    client.post("/classify", json={"texts": TEXTS[:2]}, headers={"x-request-id": "two"})
    assert feedback(client, request_id="two", item=1, label="negative", note="dull").status_code == 200
    client.post("/classify", json={"texts": TEXTS[:1]}, headers={"x-request-id": "one"})
    assert feedback(client, request_id="one", label="positive").json()["item"] == 0
    joined = duckdb.execute(
        f"SELECT t.input, f.label FROM read_json('{folder}/traffic-*.jsonl', format='newline_delimited') t "
        f"JOIN read_json('{folder}/feedback-*.jsonl', format='newline_delimited') f USING (request_id, item) ORDER BY 2"
    ).fetchall()
    assert joined == [(TEXTS[1], "negative"), (TEXTS[0], "positive")]


@pytest.mark.parametrize(
    ("given", "status", "error"),
    [
        ({"request_id": "nobody", "label": "negative"}, 404, "no request nobody in the log"),
        ({"request_id": "many", "label": "fine"}, 400, "it must be one of ['negative', 'positive']"),
        ({"request_id": "many", "label": ["negative"]}, 400, "it must be one of"),
        ({"request_id": "many", "label": "negative"}, 400, "say which by item"),
        ({"request_id": "many", "label": "negative", "item": 2}, 400, "the request had 2"),
        ({"request_id": "many", "label": "negative", "item": True}, 400, "item is true"),
        ({"request_id": "many", "label": "negative", "item": -1}, 400, "item is -1"),
        ({"request_id": "many", "label": "negative", "note": 1}, 400, "note must be"),
        ({"request_id": "many", "label": "negative", "note": "\ud800"}, 400, "note must be"),
        ({"request_id": "many", "label": "negative", "item": 0, "more": 1}, 400, "the feedback must be"),
        ({"request_id": 'x","item', "label": "negative"}, 400, "request_id must be"),
        ({"request_id": "refused", "label": "negative"}, 400, "got no answer"),
        ({"label": "negative"}, 400, "the feedback must be"),
        ([], 400, "the feedback must be"),
    ],
)
def test_bad_feedback_is_refused_in_words(
    client: httpx.Client, folder: Path, given: Any, status: int, error: str
) -> None:
    client.post("/classify", json={"texts": TEXTS[:2]}, headers={"x-request-id": "many"})
    client.post("/classify", json={"texts": []}, headers={"x-request-id": "refused"})
    before = len(rows(folder, "feedback"))
    response = client.post("/feedback", content=json.dumps(given).encode(), headers=JSON)
    assert response.status_code == status
    assert error in response.json()["error"]
    assert len(rows(folder, "feedback")) == before


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [(b"{", "application/json", 400), (b"{}", "text/plain", 415), (b" " * 9000, "application/json", 413),
     (b"\xff", "application/json", 400)],
)  # fmt: skip
def test_feedback_that_is_not_json_is_refused(client: httpx.Client, body: bytes, kind: str, status: int) -> None:
    assert client.post("/feedback", content=body, headers={"content-type": kind}).status_code == status


def test_recipe_that_keeps_hashes_keeps_no_text(packaged: Path, tmp_path: Path) -> None:
    with served(packaged, tmp_path, MODELYARD_TRAFFIC_INPUT="hash") as client:
        client.post("/classify", json={"texts": ["a secret é"]})
    (row,) = rows(tmp_path)
    assert row["input"] == "sha256:" + hashlib.sha256("a secret é".encode()).hexdigest()
    assert row["length"] == 10
    assert row["output"]["label"]
    assert not any(b"secret" in path.read_bytes() for path in paths_of(tmp_path, "traffic"))


def test_answered_requests_survive_a_kill_under_load(packaged: Path, tmp_path: Path) -> None:
    answered: list[str] = []

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as mine:
            try:
                while True:
                    response = mine.post("/classify", json={"texts": TEXTS})
                    if response.status_code == 200:
                        answered.append(response.headers["x-request-id"])
            except httpx.HTTPError:
                return

    with served(packaged, tmp_path) as client:
        url = str(client.base_url)
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answered) >= 100)
        for process in family(server_of(client)):
            os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    lines = b"".join(path.read_bytes() for path in paths_of(tmp_path, "traffic")).splitlines()
    logged = [json.loads(line)["request_id"] for line in lines if line.endswith(b"}")]
    assert len(answered) >= 100
    assert all(logged.count(request_id) == len(TEXTS) for request_id in answered)


def server_of(client: httpx.Client) -> psutil.Process:
    """The server that listens, by its port."""
    port = client.base_url.port
    own = psutil.Process().children(recursive=True)
    listening = [p for p in own if any(c.laddr and c.laddr.port == port for c in p.net_connections("tcp"))]
    return min(listening, key=lambda process: process.create_time())


def test_a_full_disk_keeps_the_service_and_shows(packaged: Path, tmp_path: Path) -> None:
    with served(packaged, tmp_path) as client:
        assert client.post("/classify", json={"texts": ["a"]}, headers={"x-request-id": "before"}).is_success
        path = paths_of(tmp_path, "traffic")[0]
        path.unlink()  # so that the next request opens a file, and finds no room for one
        shutil.rmtree(tmp_path)
        tmp_path.write_text("")
        assert client.post("/classify", json={"texts": ["a"]}).is_success
        status = client.get("/status").json()["traffic"]
        assert (status["state"], status["lost"]) == ("failing", 1)
        assert "cannot be written" in status["error"]
        assert client.get("/readyz").status_code == 200
        tmp_path.unlink()
        time.sleep(1.1)
        assert client.post("/classify", json={"texts": ["a"]}, headers={"x-request-id": "after"}).is_success
        assert client.get("/status").json()["traffic"]["state"] == "on"
    assert [row["request_id"] for row in rows(tmp_path)] == ["after"]


def test_without_a_folder_nothing_is_logged_and_no_feedback_taken(packaged: Path) -> None:
    with served(packaged, None) as client:
        assert client.post("/classify", json={"texts": ["a"]}).headers["x-request-id"]
        assert client.get("/status").json()["traffic"] == {"state": "off"}
        response = feedback(client, request_id="a", label="negative")
        assert response.status_code == 404
        assert "keeps no log" in response.json()["error"]


@pytest.mark.parametrize(
    ("name", "value"), [("MODELYARD_TRAFFIC_INPUT", "all"), ("MODELYARD_TRAFFIC_MAX_BYTES", "0"),
                        ("MODELYARD_TRAFFIC_MAX_FILES", "-1"), ("MODELYARD_TRAFFIC_MAX_AGE_S", "1.5")]
)  # fmt: skip
def test_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is '{value}'"):
        read_settings({"MODELYARD_TRAFFIC": "/somewhere", name: value})
    assert read_settings({name: value}) is None


def test_a_streamed_answer_is_whole_again() -> None:
    summary = {"finish_reason": "length", "num_prompt_tokens": 2, "num_tokens": 3, "seed": 1}
    events = [{"text": "of \n\n the"}, {"text": ' "finish_reason" '}, summary]
    streamed = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    request = {"prompt": "State", "seed": 1}
    whole = {**summary, "text": 'of \n\n the "finish_reason" '}
    pairs = endpoint_of("text_generation").pairs
    assert pairs(request, streamed, is_hashed=False) == [("State", whole)]
    assert pairs(request, json.dumps(whole).encode(), is_hashed=False) == [("State", whole)]
    ((prompt, answer),) = pairs(request, streamed, is_hashed=True)
    assert prompt == "State"
    assert answer["text"] == "sha256:" + hashlib.sha256(whole["text"].encode()).hexdigest()
    assert LAST_EVENT not in b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events[:2])
    assert LAST_EVENT in streamed


def test_a_picture_is_logged_by_its_digest() -> None:
    request = {"seed": 1, "count": 2, "format": "png"}
    digest = hashlib.sha256(b"png").hexdigest()
    assert endpoint_of("image_generation").pairs(request, b"png", is_hashed=False) == [
        (request, {"sha256": digest, "size_bytes": 3})
    ]
