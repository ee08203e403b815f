"""What is handed to Prefect's pages, where no flow is needed to see it."""

import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.environment import MLFLOW_SERVER
from components.plumbing.progress import PROGRESS_VARIABLE, progress
from flows.pipeline import prefect_pages as module
from flows.pipeline.prefect_pages import key_of, mlflow_address, showing_progress, tell_pages
from tests.patience import wait_until


def test_progress_reaches_prefect_while_the_stage_works_and_ends_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float, str]] = []

    def noting(what: str) -> Callable[..., str]:
        return lambda *words, description, **_: told.append((what, words[-1], description)) or "its id"

    monkeypatch.setattr(module, "create_progress_artifact", noting("create"))
    monkeypatch.setattr(module, "update_progress_artifact", noting("update"))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    with progress("another training of this process", total=1) as other:
        other.milestone("epoch 1 of 1  loss 0.9")  # before anybody asked
    with showing_progress(tmp_path, "tiny", "finetune"), progress("finetune", total=40) as bar:
        bar.update(10, {"loss": 0.5})
        bar.milestone("epoch 1 of 4  loss 0.5")
        reached = (25.0, "finetune 10 of 40  loss 0.5\n\n- epoch 1 of 4  loss 0.5")
        wait_until(lambda: reached in [one[1:] for one in told], lambda: told)
        assert told[-1][1:] == reached
        bar.update(20, {"loss": 0.25})  # and stops early
    what, percent, said = told[-1]
    assert (what, percent, said.splitlines()[0]) == ("update", 100.0, "finetune 20 of 40  loss 0.25")
    assert [one[0] for one in told].count("create") == 1
    assert PROGRESS_VARIABLE not in os.environ


def test_stage_that_fails_is_not_shown_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(module, "create_progress_artifact", lambda percent, **_: told.append(percent))

    def fail() -> None:
        with showing_progress(tmp_path, "tiny", "finetune"), progress("finetune", total=4) as bar:
            bar.update(1)
            raise ValueError("fails")

    with pytest.raises(ValueError, match="fails"):
        fail()
    assert told == [25.0]


def test_server_that_refuses_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no")

    for name in ("create_markdown_artifact", "create_progress_artifact"):
        monkeypatch.setattr(module, name, refuse)
    with caplog.at_level(logging.INFO):
        tell_pages(tmp_path, "tiny", "monitor", "steady")
        with showing_progress(tmp_path, "tiny", "finetune"), progress("finetune", total=4) as bar:
            bar.update(1)
    assert not caplog.records


def test_link_goes_to_the_mlflow_server_that_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_address(tmp_path) is None
    note = tmp_path / MLFLOW_SERVER
    note.parent.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        note.write_text(json.dumps({"url": url}))
        assert mlflow_address(tmp_path) == url
    assert mlflow_address(tmp_path) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/base/")
    assert mlflow_address(tmp_path) == "https://mlflow.example/base"


def test_keys_have_the_letters_that_prefect_allows() -> None:
    assert key_of("Review_sentiment_zh", "finetune", "progress") == "review-sentiment-zh-finetune-progress"
