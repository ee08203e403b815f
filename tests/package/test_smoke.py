import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.package.smoke import NUM_MIXES, Golden, ask, mixed, read_golden
from components.plumbing.artifacts import write_json
from components.plumbing.errors import ModelyardError


@contextmanager
def answering(replies: list[tuple[int, Any]]) -> Generator[str]:
    """A server on this machine that gives each POST the next reply, and the last one from then on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.reply(*(replies.pop(0) if len(replies) > 1 else replies[0]))

        def reply(self, status: int, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def golden_of(answer: Any) -> Golden:
    return Golden(route="/classify", request={}, answer=answer)


def test_busy_server_is_asked_again() -> None:
    with answering([(503, {}), (503, {}), (200, {"a": 1.0})]) as url:
        parity = ask(url, [golden_of({"a": 1.0})])
    assert (parity.num_golden, parity.num_other, parity.max_difference) == (1, 0, 0.0)


def test_request_that_is_refused_is_told() -> None:
    with (
        answering([(400, {"error": "too long"})]) as url,
        pytest.raises(ModelyardError, match=r"POST /classify answers 400: .*too long"),
    ):
        ask(url, [golden_of({})])


@pytest.mark.parametrize(("limit", "chosen"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (100, list(range(10)))])
def test_golden_requests_are_spread(tmp_path: Path, limit: int, chosen: list[int]) -> None:
    write_json(tmp_path / "golden.json", [golden_of(number) for number in range(10)])
    assert [one["answer"] for one in read_golden(tmp_path / "golden.json", limit=limit)] == chosen


def join(requests: Sequence[Any]) -> dict[str, list[Any]] | None:
    texts = [text for one in requests for text in one["texts"]]
    return {"texts": texts} if len(texts) <= 16 else None


def labelled(text: str) -> Golden:
    return Golden(route="/classify", request={"texts": [text]}, answer=[{"label": text}])


def test_every_request_is_joined_with_others_and_keeps_its_own_answer() -> None:
    golden = [labelled(f"{number}") for number in range(60)]
    mixes = list(mixed(golden, [one["answer"] for one in golden], join))
    assert all([{"label": text} for text in one["request"]["texts"]] == one["answer"] for one in mixes)
    sizes = [len(one["request"]["texts"]) for one in mixes]
    assert min(sizes) < 3
    assert 4 < max(sizes) <= 16
    asked = [text for one in mixes for text in one["request"]["texts"]]
    assert set(asked) == {f"{number}" for number in range(60)}
    assert len(asked) == NUM_MIXES * 60


def test_answer_that_depends_on_what_it_is_asked_with_is_found() -> None:
    golden = [labelled("dull")] * 3
    with answering([(200, [{"label": "dull"}])]) as url:
        assert ask(url, golden).num_changed == 0
        assert ask(url, golden, join=join).num_changed > 0  # one answer for several texts
