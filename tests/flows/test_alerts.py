"""Alerts reach a webhook, Slack's form and a mail server on this machine; a dead one costs a warning and seconds."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from ruamel.yaml import YAML

from components.errors import BusyError, InputError, ParamsError, QualityError, TimeLimitError
from components.package.bento import free_port
from components.recipes import load_notify, load_recipe
from flows import alerts
from flows.alerts import Alert, alerting, send, tell_of_champion, tell_of_crash, tell_of_verdict
from tests.projects import ROOT

ALL = ["failed_gate", "drift", "crash", "promotion"]


class Hook(ThreadingHTTPServer):
    """Keeps what is posted, after so many answers of 503."""

    def __init__(self, failures: int = 0, code: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Posted)
        self.got: list[dict[str, Any]] = []
        self.failures, self.code, self.asked = failures, code, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/SECRET"


class Posted(BaseHTTPRequestHandler):
    server: Hook  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        is_down = self.server.asked <= self.server.failures
        if not is_down:
            self.server.got.append(json.loads(body))
        self.send_response(503 if is_down else self.server.code)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Generator[Hook]:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # which would answer nothing
    monkeypatch.setattr(alerts, "PAUSES_S", (0.05, 0.05, 0.05))
    server = Hook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", server.url)
    yield server
    server.shutdown()
    server.server_close()


def project(folder: Path, notify: object, recipe: object = None) -> Path:
    params = YAML().load(ROOT / "params.yaml")
    params["notify"] = notify
    if recipe is not None:
        params["recipes"]["digits"]["notify"] = recipe
    YAML().dump(params, folder / "params.yaml")
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


def webhook(*events: str) -> dict[str, Any]:
    return {"kind": "webhook", "url_variable": "HOOK", "events": list(events or ALL)}


def test_each_event_reaches_who_wants_it(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook(), "b": {"kind": "slack", "url_variable": "HOOK", "events": ["crash"]}})
    with pytest.raises(QualityError), alerting(root, "digits", where="modelyard run digits"):
        raise QualityError("accuracy 0.5 is below 0.9", report={"accuracy": 0.5})
    tell_of_champion(root, "digits", "promoted", "", 2, {"drop": 0.001})
    tell_of_champion(root, "digits", "unchanged", "", 2, {})
    for _ in range(2):  # once for a cause
        tell_of_verdict(root, "digits", "drift", "drift: lengths", "digits:abc")
    tell_of_verdict(root, "digits", "steady", "steady", "digits:abc")
    assert [(one["event"], one["recipe"]) for one in hook.got] == [
        ("failed_gate", "digits"), ("promotion", "digits"), ("drift", "digits"),
    ]  # fmt: skip
    assert hook.got[0]["verdict"] == "accuracy 0.5 is below 0.9"
    assert hook.got[0]["figures"] == {"accuracy": 0.5}
    assert hook.got[0]["where"] == "modelyard run digits"
    hook.got.clear()
    with pytest.raises(TimeLimitError), alerting(root, "digits", where="x"), alerting(root, "digits", where="y"):
        raise TimeLimitError("longer than <1 s>")
    assert len(hook.got) == 2  # one each, though two blocks saw it
    slack = next(one for one in hook.got if "blocks" in one)
    assert "longer than &lt;1 s&gt;" in slack["text"]
    assert [block["type"] for block in slack["blocks"]] == ["header", "section"]


def test_what_is_no_crash_is_not_told(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook()})
    for error in (BusyError("another run"), InputError("no such stage"), KeyboardInterrupt()):
        with pytest.raises(type(error)), alerting(root, "digits", where="x", is_by_hand=True):
            raise error
    assert hook.got == []


def test_a_killed_run_is_told_of(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook("crash")})
    run = SimpleNamespace(id="1", parameters={"root": str(root), "recipe": "digits"})
    tell_of_crash(None, run, None)  # it left by itself: it said so itself
    assert hook.got == []
    (root / ".modelyard/run/flows").mkdir(parents=True)
    (root / ".modelyard/run/flows/1.json").touch()
    tell_of_crash(None, run, None)
    assert [one["event"] for one in hook.got] == ["crash"]


def test_it_is_tried_again_and_a_recipe_may_have_its_own(tmp_path: Path, hook: Hook) -> None:
    hook.failures = 2
    root = project(tmp_path, {"a": webhook()}, {})
    assert send(root, Alert("movie_sentiment", "crash", "x", "y")) == {}
    assert hook.asked == 3
    send(root, Alert("digits", "crash", "x", "y"))
    assert hook.asked == 3
    assert load_notify(root, "digits") == {}


def test_a_dead_server_costs_a_warning_without_the_secret(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("flows"), "propagate", True)
    monkeypatch.setenv("DEAD", f"http://127.0.0.1:{free_port()}/SECRET")
    hook.code = 404
    dead = {"kind": "webhook", "url_variable": "DEAD", "events": ALL}
    root = project(tmp_path, {"gone": webhook(), "dead": dead, "unset": {**dead, "url_variable": "NOT_SET_HERE"}})
    started = time.monotonic()
    faults = send(root, Alert("digits", "crash", "x", "y"))
    assert time.monotonic() - started < 10
    assert faults == {
        "gone": "it answered 404", "dead": "it did not answer (URLError)",
        "unset": "the environment variable NOT_SET_HERE is not set",
    }  # fmt: skip
    assert hook.asked == 1  # 404 is not asked again
    assert len(caplog.records) == 3
    assert "SECRET" not in caplog.text


def test_mail_arrives(tmp_path: Path) -> None:
    got: list[Any] = []

    class Keeper:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            got.append(envelope)
            return "250 OK"

    server = Controller(Keeper(), hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        target = {
            "kind": "email", "host": "127.0.0.1", "port": server.port, "security": "none", "sender": "yard@example.org",
            "to": ["team@example.org"], "events": ALL,
        }  # fmt: skip
        root = project(tmp_path, {"team": target})
        assert send(root, Alert("digits", "failed_gate", "accuracy 0.5\nis below", "modelyard why digits")) == {}
    finally:
        server.stop()
    assert got[0].rcpt_tos == ["team@example.org"]
    text = got[0].content.decode()
    assert "Subject: [modelyard] digits: a gate failed" in text
    assert "accuracy 0.5" in text


def test_faults_are_refused_without_showing_a_secret(tmp_path: Path) -> None:
    root = project(tmp_path, {"a": {**webhook(), "url_variable": "https://hooks.example.org/SECRET", "evnts": []}})
    with pytest.raises(ParamsError) as refused:
        load_recipe(root, "digits")
    assert "notify.a.evnts: unknown key (did you mean 'events'?)" in str(refused.value)
    assert "notify.a.url_variable" in str(refused.value)
    assert "SECRET" not in str(refused.value)
