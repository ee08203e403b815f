import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from components.tracking.store import open_client


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
    started = time.monotonic()
    client.set_terminated(run_id, "KILLED")
    assert time.monotonic() - started < 4  # SQLite waits five seconds for a database that is locked
    told = client.get_run(run_id)
    assert told.info.status == "KILLED"
    assert told.data.metrics == {"loss": 0.5}  # the call was done before the interrupt came
