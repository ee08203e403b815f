"""What every process of ours sets before it asks anything of this machine's servers."""

import os
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import requests

from components.plumbing.environment import PROXIES, prepare_environment
from tests.patience import PATIENCE_S

NO_PROXY = ("NO_PROXY", "no_proxy")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


@pytest.fixture
def address() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*PROXIES, *NO_PROXY):
        for spelled in (name, name.lower()):
            monkeypatch.setenv(spelled, "")  # so that it is put back, whatever a test sets
            monkeypatch.delenv(spelled)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_this_machine_is_asked_without_the_proxy(name: str, address: str, own_environment: pytest.MonkeyPatch) -> None:
    own_environment.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    prepare_environment()
    assert httpx.get(address, timeout=PATIENCE_S).status_code == 200
    assert requests.get(address, timeout=PATIENCE_S).status_code == 200


@pytest.mark.parametrize("given", ["example.org,.internal", "*", "127.0.0.1"])
def test_what_the_user_spares_stays_spared(given: str, own_environment: pytest.MonkeyPatch) -> None:
    own_environment.setenv("https_proxy", "http://proxy.example:3128")
    own_environment.setenv("NO_PROXY", given)
    prepare_environment()
    prepare_environment()  # as each child does
    spared = dict.fromkeys([*given.split(","), *(() if given == "*" else ("127.0.0.1", "localhost", "::1"))])
    for name in NO_PROXY:
        assert os.environ.get(name) == ",".join(spared)


def test_nothing_is_set_without_a_proxy(own_environment: pytest.MonkeyPatch) -> None:
    prepare_environment()
    assert [os.environ.get(name) for name in NO_PROXY] == [None, None]
