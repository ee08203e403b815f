import json
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.package.bento import build_bento, serving
from components.package.bundle import write_bundle
from components.package.smoke import ask
from components.params import TextGenerationServing
from components.plumbing.artifacts import read_json, write_json
from components.recipes import stages
from components.tasks import task_of
from serving.tasks.text_generation.predictor import TextGenerator
from tests.patience import PATIENCE_S, wait_until
from tests.projects import ROOT
from tests.tiny_language import compress

LIMITS = {
    "threads": 2,
    "max_prompt_tokens": 12,
    "max_new_tokens": 1_000_000,
    "max_requests": 64,
    "max_read_ms": 5000,
    "max_latency_ms": 400,
}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generation")
    compressed = compress(root, "gpt")
    golden = read_json(compressed / "results/golden.json")
    shutil.copy(ROOT / "dvc.yaml", root)
    write_json(root / "dvc.lock", {"stages": {f"{stage}@tiny": {"outs": []} for stage in stages()}})
    write_bundle(
        root / "bundle", recipe="tiny", model=compressed / "model", golden=golden,
        serving=TextGenerationServing(task="text_generation", **LIMITS), project=root,
        drop=task_of("text_generation").drop,
        reports={
            "card": {"licence": "CC0", "num_rows": 40}, "verdict": {"passed": True}, "evaluated": {},
            "compressed": read_json(compressed / "report.json"),
        },
    )  # fmt: skip
    return root / "bundle"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "serve.log"


@pytest.fixture(scope="module")
def client(bundle: Path, log: Path, bento_home: Path) -> Generator[httpx.Client]:
    tag = build_bento(bundle, None)
    with (
        serving(tag, ready_timeout_s=60, log=log) as served,
        httpx.Client(base_url=served.url, timeout=PATIENCE_S) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def endless(bundle: Path) -> dict[str, Any]:
    """A request that would take minutes."""
    model = TextGenerator.load(bundle, threads=1)
    for prompt in ("a", "dull", "warm day", "story", "music", "!"):
        request: dict[str, Any] = {"prompt": prompt, "temperature": 0}
        tried = model.generate(**request, max_tokens=500, top_k=0, top_p=1.0, seed=0).answer()
        if tried["finish_reason"] == "length" and tried["text"]:
            return request | {"max_tokens": LIMITS["max_new_tokens"]}
    raise AssertionError("every answer ends")


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line:
            assert line.startswith("data: ")
            yield json.loads(line.removeprefix("data: "))


def test_streamed_events_join_to_the_answer_in_one_piece(client: httpx.Client, bundle: Path) -> None:
    model = TextGenerator.load(bundle, threads=1)
    for seed in range(3):
        request = {
            "prompt": "A dull day",
            "max_tokens": 40,
            "temperature": 0.9,
            "top_k": 50,
            "top_p": 0.95,
            "seed": seed,
        }
        whole = client.post("/generate", json={**request, "stream": False})
        assert whole.json() == model.generate(**request).answer()
        with client.stream("POST", "/generate", json=request) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            *pieces, last = events_of(response)
        assert len(pieces) > 5
        assert "".join(piece["text"] for piece in pieces) == whole.json()["text"]
        assert last == {name: value for name, value in whole.json().items() if name != "text"}


def test_tokens_come_one_by_one(client: httpx.Client, endless: dict[str, Any]) -> None:
    with client.stream("POST", "/generate", json=endless) as response:
        events = events_of(response)
        assert next(events)["text"]
        assert next(events)["text"]


def test_seed_is_told_and_gives_the_same_answer(client: httpx.Client) -> None:
    request = {"prompt": "A warm", "max_tokens": 30, "stream": False}
    one, other = (client.post("/generate", json=request).json() for _ in range(2))
    assert one["seed"] != other["seed"]
    assert one["text"] != other["text"]
    assert client.post("/generate", json={**request, "seed": one["seed"]}).json() == one


def test_golden_answers_are_given_again(client: httpx.Client, bundle: Path) -> None:
    parity = ask(str(client.base_url), read_json(bundle / "golden.json")[:4])
    assert parity.num_other == 0
    assert parity.max_difference == 0


def test_request_waits_for_a_place_and_is_turned_away(client: httpx.Client, endless: dict[str, Any], log: Path) -> None:
    short = {"prompt": "warm", "max_tokens": 2, "stream": False}
    with ExitStack() as held:
        streams = [client.stream("POST", "/generate", json=endless) for _ in range(LIMITS["threads"])]
        begun = [events_of(held.enter_context(stream)) for stream in streams]
        assert all(next(events)["text"] for events in begun)
        started = time.monotonic()
        response = client.post("/generate", json=short)
        assert time.monotonic() - started > 0.35
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "overloaded" in response.json()["error"]
    wait_until(lambda: client.post("/generate", json=short).status_code == 200)  # those who went away hold no place
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_client_that_goes_away_is_computed_for_no_longer(client: httpx.Client, endless: dict[str, Any]) -> None:
    for _ in range(2 * LIMITS["threads"]):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/generate", json={**endless, "stream": False}, timeout=httpx.Timeout(PATIENCE_S, read=0.2))
    short = {"prompt": "warm", "max_tokens": 2, "stream": False}
    wait_until(lambda: client.post("/generate", json=short).status_code == 200)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": 3}, "the request must be"),
        ({"prompt": "~!" * 12}, "prompt has 24 tokens; at most 12 are taken"),
        ({"prompt": "half \ud800"}, "half of a surrogate pair"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be an integer from 1 on"),
        ({"max_tokens": 1_000_001}, "max_tokens is 1000001; at most 1000000 are given"),
        ({"max_tokens": "9"}, "max_tokens is '9'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 1.5}, "top_k is 1.5"),
        ({"top_p": 0}, "top_p is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**53}, "seed is 9007199254740992; it must be an integer from 0 to 9007199254740991"),
        ({"stop": "x"}, "stop is 'x'; it must be a list of texts"),
        ({"stop": [1]}, "stop has 1; each must be a text"),
        ({"stream": 1}, "stream is 1; it must be true or false"),
        ({"top-k": 1}, "unknown key 'top-k'; it may have prompt, max_tokens"),
    ],
)
def test_bad_request_is_refused_in_words(client: httpx.Client, changed: dict[str, Any], error: str) -> None:
    response = client.post("/generate", content=json.dumps({"prompt": "warm", **changed}).encode(), headers=JSON)
    assert response.status_code == 400
    assert error in response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"warm"'])
def test_what_is_no_request_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/generate", content=body, headers=JSON).status_code == 400


def test_vast_and_foreign_bodies_are_refused(client: httpx.Client) -> None:
    assert client.post("/generate", content=b" " * 2**20, headers=JSON).status_code == 413
    kind = {"content-type": "text/plain"}
    assert client.post("/generate", content=b'{"prompt": "a"}', headers=kind).status_code == 415


def test_card_says_how_to_ask(client: httpx.Client, bundle: Path) -> None:
    card = client.get("/card").text
    assert "A prompt of at most 12 tokens" in card
    assert "/generate -N" in card


def test_requests_are_not_logged(client: httpx.Client, log: Path) -> None:
    client.post("/generate", json={"prompt": "a secret", "max_tokens": 1})
    assert "secret" not in log.read_text(encoding="utf-8")
