import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from components.plumbing.artifacts import is_of_full_disk
from components.plumbing.errors import StoreError
from components.tracking.store import check_store, open_client
from tests.patience import PATIENCE_S


@pytest.fixture
def interrupt_next_commit() -> Iterator[Callable[[], None]]:
    """Has the next transaction interrupted at the moment it ends, as by Ctrl-C."""
    is_armed = False

    def interrupt(_connection: object) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            signal.raise_signal(signal.SIGINT)

    def arm() -> None:
        nonlocal is_armed
        is_armed = True

    event.listen(Engine, "commit", interrupt)
    yield arm
    event.remove(Engine, "commit", interrupt)


def test_interrupt_in_the_middle_of_a_call_leaves_the_store_usable(
    tmp_path: Path, interrupt_next_commit: Callable[[], None]
) -> None:
    client = open_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = client.create_run(client.create_experiment("tiny")).info.run_id
    interrupt_next_commit()
    with pytest.raises(KeyboardInterrupt):
        client.log_metric(run_id, "loss", 0.5, step=1)
    client.set_terminated(run_id, "KILLED")
    told = client.get_run(run_id)
    assert told.info.status == "KILLED"
    assert told.data.metrics == {"loss": 0.5}  # the call was done before the interrupt came


def test_full_disk_is_known_by_its_words_and_told_without_mlflows_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = open_client(uri)
    run_id = client.create_run(client.create_experiment("tiny")).info.run_id

    def fill(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says of a full disk

    event.listen(Pool, "checkout", fill)
    try:
        tags = [RunTag(f"tag{number}", "x" * 4000) for number in range(90)]
        with pytest.raises(MlflowException) as found:
            client.log_batch(run_id, tags=tags)
    finally:
        event.remove(Pool, "checkout", fill)
    assert is_of_full_disk(found.value)
    assert not is_of_full_disk(ValueError("no space in the name"))
    assert caplog.text == ""


OPEN = """
import sys
from components.plumbing.errors import StoreError
from components.tracking.store import check_store, open_client
client = open_client(sys.argv[1])
client.create_experiment(sys.argv[2])
"""


@pytest.mark.long
def test_processes_that_open_a_new_store_at_once_make_it_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = [sys.executable, "-c", OPEN, uri]
    both = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in ("one", "two", "three")]
    said = [one.communicate(timeout=5 * PATIENCE_S)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0, 0], said
    names = {experiment.name for experiment in open_client(uri).search_experiments()}
    assert names == {"Default", "one", "two", "three"}


def test_store_that_was_left_half_made_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def open_half_made(uri: str) -> None:
        raise OperationalError(f"CREATE TABLE {uri}", {}, Exception("table _alembic_tmp_model_versions already exists"))

    monkeypatch.setattr("components.tracking.store.open_client", open_half_made)
    with pytest.raises(StoreError, match=r"mlflow.db was left half made by a process that was killed; bring it back"):
        check_store(tmp_path)


@pytest.mark.parametrize(
    ("uri", "said", "is_transient"),
    [
        ("http://127.0.0.1:{port}", "cannot be reached", True),
        ("postgresql+psycopg://127.0.0.1:{port}/none", "cannot be reached", True),
        ("http://me:hunter2@127.0.0.1:port", "is no address", False),
        ("http://me:hunter2@", "is no address", False),
        ("nothing://127.0.0.1/none", "is no address", False),
        ("mysql+pymysql://127.0.0.1/none", "cannot be used", False),
    ],
)
def test_only_a_store_that_may_answer_later_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str, is_transient: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free.getsockname()[1]))
        with pytest.raises(StoreError, match=f"{said} .*MLFLOW_TRACKING_URI") as found:
            check_store(tmp_path)
    assert found.value.is_transient is is_transient
    assert "\n" not in str(found.value)
    assert "hunter2" not in str(found.value)
