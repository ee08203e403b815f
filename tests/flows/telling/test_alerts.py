"""Alerts reach a webhook, Slack's form and a mail server on this machine; a dead one costs a warning and seconds."""

import json
import logging
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.package.bento import free_port
from components.plumbing.errors import BusyError, InputError, ParamsError, QualityError, TimeLimitError
from components.recipes import load_notify, load_recipe
from flows.telling import alerts
from flows.telling.alerts import (
    Alert,
    alerting,
    send,
    tell_of_champion,
    tell_of_crash,
    tell_of_killed,
    tell_of_settings,
    tell_of_verdict,
)
from tests.hooks import ALL, Hook, listening, project, webhook
from tests.projects import run


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Generator[Hook]:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # which would answer nothing
    monkeypatch.setattr(alerts, "PAUSES_S", (0.05, 0.05, 0.05))
    with listening() as server:
        monkeypatch.setenv("HOOK", server.url)
        yield server


def test_each_event_reaches_who_wants_it(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook(), "b": {"kind": "slack", "url_variable": "HOOK", "events": ["crash"]}})
    with pytest.raises(QualityError), alerting(root, "digits", where="modelyard run digits"):
        raise QualityError("accuracy 0.5 is below 0.9", report={"accuracy": 0.5})
    tell_of_champion(root, "digits", "promoted", "", 2, {"drop": 0.001}, "1a2b")
    tell_of_champion(root, "digits", "unchanged", "", 2, {}, "")
    for _ in range(2):  # once for a cause
        tell_of_verdict(root, "digits", "drift", "drift: lengths", "digits:abc", "")
    tell_of_verdict(root, "digits", "steady", "steady", "digits:abc", "")
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


def test_settings_that_a_sweep_found_are_told_with_the_command_that_applies_them(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook("sweep"), "b": webhook("promotion")})
    tell_of_settings(root, "digits", "on the test split it gained", {"finetune.epochs": 9}, "1a2b")
    (got,) = hook.got
    assert (got["event"], got["where"]) == ("sweep", "modelyard sweep digits --apply")
    assert got["figures"] == {"finetune.epochs": 9}


def test_what_is_no_crash_is_not_told(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook()})
    for error in (BusyError("another run"), InputError("no such stage"), KeyboardInterrupt()):
        with pytest.raises(type(error)), alerting(root, "digits", where="x", is_by_hand=True):
            raise error
    assert hook.got == []


def test_a_killed_run_is_told_of(tmp_path: Path, hook: Hook) -> None:
    root = project(tmp_path, {"a": webhook("crash")})
    flow_run = SimpleNamespace(id="1", parameters={"root": str(root), "recipe": "digits"})
    tell_of_crash(None, flow_run, None)  # it left by itself: it said so itself
    assert hook.got == []
    (root / ".modelyard/run/flows").mkdir(parents=True)
    (root / ".modelyard/run/flows/1.json").touch()
    tell_of_crash(None, flow_run, None)
    assert [one["event"] for one in hook.got] == ["crash"]


def test_a_killed_run_is_told_of_without_its_link_where_the_store_is_away(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = project(tmp_path, {"a": webhook("crash")})
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    tell_of_killed(root, {"digits"})
    assert [(one["event"], one["run_id"]) for one in hook.got] == [("crash", "")]
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith(f"the run of digits cannot be named: the MLflow store {url} cannot be reached")


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
    faults = send(root, Alert("digits", "crash", "x", "y"))
    assert faults == {
        "gone": "it answered 404", "dead": "it did not answer (URLError)",
        "unset": "the environment variable NOT_SET_HERE is not set",
    }  # fmt: skip
    assert hook.asked == 1  # 404 is not asked again
    assert len(caplog.records) == 3
    assert "SECRET" not in caplog.text


def test_faults_are_refused_without_showing_a_secret(tmp_path: Path) -> None:
    root = project(tmp_path, {"a": {**webhook(), "url_variable": "https://hooks.example.org/SECRET", "evnts": []}})
    with pytest.raises(ParamsError) as refused:
        load_recipe(root, "digits")
    assert "notify.a.evnts: unknown key (did you mean 'events'?)" in str(refused.value)
    assert "notify.a.url_variable" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_link_is_to_the_server_of_the_user_and_without_a_password(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path, {"a": webhook()})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    send(root, Alert("digits", "crash", "x", "y", run_id="1a2b"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:SECRET@mlflow.example.org/team/")
    send(root, Alert("digits", "crash", "x", "y", run_id="1a2b"))
    assert [one["link"] for one in hook.got] == ["", "https://mlflow.example.org/team/#/runs/1a2b"]


def test_commands_tell_a_test_and_say_what_is_not_set(tmp_path: Path, hook: Hook) -> None:
    own = {"night": webhook("crash"), "unset": webhook("drift", variable="NOT_SET_HERE")}
    root = project(tmp_path, {"team": webhook()}, own)
    run(["modelyard", "notify", "--test"], root)
    assert [(one["event"], one["recipe"]) for one in hook.got] == [("test", "")]
    unset = "the environment variable NOT_SET_HERE is not set"
    shown = run(["modelyard", "notify", "digits"], root)
    assert unset in shown.stdout
    assert len(hook.got) == 1
    tested = run(["modelyard", "notify", "digits", "--test", "--json"], root, check=False)
    assert tested.returncode == 1
    rows = {row["name"]: (row["state"], row["note"]) for row in json.loads(tested.stdout)["targets"]}
    assert rows == {"night": ("ok", "told"), "unset": ("fail", unset)}
    assert [(one["event"], one["recipe"]) for one in hook.got[1:]] == [("test", "digits")]
    looked = run(["modelyard", "doctor", "--json"], root, check=False)
    (check,) = [check for check in json.loads(looked.stdout)["checks"] if check["name"] == "notify"]
    assert (check["state"], check["found"]) == ("warn", "digits.unset: NOT_SET_HERE is not set")
    assert "SECRET" not in shown.stdout + shown.stderr + tested.stdout + tested.stderr + looked.stdout + looked.stderr
