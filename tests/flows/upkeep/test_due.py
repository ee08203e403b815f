"""That schedules fire: runs written ahead, one run for all that are overdue, none left open, and silence named."""

import shutil
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running, Scheduled

from components.plumbing.artifacts import write_json
from components.plumbing.environment import PREFECT_SERVER
from flows.operate.doctor import look_at_schedules
from flows.operate.up import scheduling
from flows.pipeline.running import FOLDER, mark_killed
from flows.servers.tools import note_server
from flows.upkeep import worker
from flows.upkeep.deployments import deployments_of
from flows.upkeep.due import catch_up, coming_runs, free_slots, skip_all_but_newest
from flows.upkeep.offered import offered_since
from flows.upkeep.planned import own_deployments
from tests.patience import PATIENCE_S, wait_until
from tests.projects import ROOT, edit

HOURLY = {"interval_s": 3600, "timezone": "UTC", "limit_s": 600}

AFTER_THE_HOUR_S, BEFORE_THE_HOUR_S = 35, 30
"""Around the hour a run of its own is due, which stands for those before."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two schedules of one recipe, and nothing else."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("schedule", "monitoring.schedule"):
        edit(tmp_path, f"movie_sentiment.{name}", HOURLY)
    return tmp_path


@pytest.fixture
def client(prefect_api: str) -> Generator[Any]:
    with temporary_settings({PREFECT_API_URL: prefect_api}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(project: Path, client: Any) -> Any:
    """That of the retraining, as it is on the server, at a time at which none of its runs falls due."""
    while not AFTER_THE_HOUR_S < time.time() % 3600 < 3600 - BEFORE_THE_HOUR_S:
        time.sleep(1)
    for one in deployments_of(project):
        one.apply()
    return next(one for one in own_deployments(client, project) if one.entrypoint == "flows.upkeep.retrain.retrain")


def states(client: Any, *ids: UUID) -> list[str]:
    return [client.read_flow_run(one).state.name for one in ids]


def scheduled_at(client: Any, deployment: Any, when: datetime) -> UUID:
    return client.create_flow_run_from_deployment(deployment.id, state=Scheduled(scheduled_time=when)).id


def test_coming_runs_are_written_ahead(project: Path, deployment: Any, client: Any) -> None:
    """What broke with SQLAlchemy 2.1: everything was well, and no run was ever written."""
    wait_until(
        lambda: client.read_flow_runs(limit=1, deployment_filter=of(deployment)), within_s=2 * PATIENCE_S, every_s=0.5
    )
    coming = coming_runs(project)
    hour = (datetime.now(UTC) + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    assert {(str(one.due), one.at) for one in coming if one.due.flow == "retrain"} == {
        ("retrain movie_sentiment", hour)
    }
    assert scheduling(project, up_s=100)[0] == "ok"


def of(deployment: Any) -> Any:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    return DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))


@pytest.fixture
def failing_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the scheduler fails each time, and has for a while."""
    monkeypatch.setattr("flows.upkeep.due.runs_of", lambda *_args, **_kwargs: [])
    monkeypatch.setattr("flows.upkeep.due.WRITTEN_WITHIN", timedelta(0))


@pytest.mark.usefixtures("failing_scheduler")
def test_schedule_that_will_not_fire_is_named(project: Path, deployment: Any, client: Any) -> None:
    from components.plumbing.locks import hold

    faults = [str(one) for one in coming_runs(project)]
    assert all("its schedule is active, but Prefect's server writes no run for it" in one for one in faults)
    assert len(faults) == 2
    state, _, note = scheduling(project, up_s=100)
    assert state == "degraded"
    assert "monitor movie_sentiment: its schedule is active" in note
    with hold(project, "worker.process", doing="modelyard worker", wait=False):
        assert {check.state for check in look_at_schedules(project)} == {"fail"}
    client.pause_deployment(deployment.id)  # by its user, who knows
    assert "retrain movie_sentiment: paused" in [str(one) for one in coming_runs(project)]


@pytest.mark.usefixtures("failing_scheduler")
def test_worker_names_each_schedule_that_will_not_fire_once(
    project: Path, deployment: Any, prefect_api: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    note_server(project, PREFECT_SERVER, prefect_api)
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.05)
    looks: list[Path] = []
    monkeypatch.setattr(worker, "coming_runs", lambda root: looks.append(root) or coming_runs(root))

    def named() -> list[str]:
        return sorted(one.getMessage() for one in caplog.records if one.name == worker.__name__)

    with worker.looked_after(project, [deployment.name], {}):
        wait_until(lambda: len(looks) >= 4, named)
    assert [one.partition(", but")[0] for one in named()] == [
        f"{flow} movie_sentiment: its schedule is active" for flow in ("monitor", "retrain")
    ]


def test_schedule_that_no_worker_offered_is_named(project: Path, client: Any) -> None:
    del client
    assert [one.fault for one in coming_runs(project)]
    assert all("no worker or pool has offered it" in one.fault for one in coming_runs(project))


def test_one_run_stands_for_all_that_are_overdue(deployment: Any, client: Any) -> None:
    now = datetime.now(UTC)
    ids = [scheduled_at(client, deployment, now - timedelta(hours=hours)) for hours in (3, 2, 1)]
    later = scheduled_at(client, deployment, now + timedelta(hours=1))
    skip_all_but_newest(client, [deployment])
    assert states(client, *ids) == ["Skipped", "Skipped", "Scheduled"]
    assert states(client, later) == ["Scheduled"]
    assert str(ids[2]) in client.read_flow_run(ids[0]).state.message


def test_run_that_nobody_wrote_ahead_is_added_once(deployment: Any, client: Any) -> None:
    since = datetime.now(UTC) - timedelta(hours=5)
    assert catch_up(client, deployment, since=since)
    assert not catch_up(client, deployment, since=since)
    (run,) = [one for one in client.read_flow_runs(deployment_filter=of(deployment)) if "catch-up" in one.tags]
    assert run.state.type.value == "SCHEDULED"


def test_nothing_is_added_where_nothing_was_due(deployment: Any, client: Any) -> None:
    assert not catch_up(client, deployment, since=datetime.now(UTC) - timedelta(seconds=40))


def test_time_is_caught_up_whose_worker_died_before_any_run(
    project: Path, client: Any, deployment: Any, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first run fell due while Prefect's server wrote none yet, and the worker was killed before it looked."""
    del deployment
    deployments = deployments_of(project)
    began = offered_since(project, deployments)["retrain/movie_sentiment"]
    assert offered_since(project, deployments_of(project))["retrain/movie_sentiment"] == began
    hours_ago = {name: began - timedelta(hours=2) for name in ("retrain/movie_sentiment", "monitor/movie_sentiment")}
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.setattr(worker, "own_deployments", lambda *_args, **_kwargs: known(client, project))
    for _ in range(2):
        worker.take_up(project, hours_ago)
    ids = {one.id for one in own_deployments(client, project)}
    added = [run for run in client.read_flow_runs() if "catch-up" in run.tags and run.deployment_id in ids]
    assert len(added) == 2


def known(client: Any, project: Path) -> list[Any]:
    """As deployments that have been on the server for a day."""
    found = own_deployments(client, project)
    for one in found:
        one.created = datetime.now(UTC) - timedelta(days=1)
    return found


def test_changed_schedule_stands_from_now_on(project: Path) -> None:
    before = offered_since(project, deployments_of(project))
    edit(project, "movie_sentiment.schedule", HOURLY | {"interval_s": 1800})
    after = offered_since(project, deployments_of(project))
    assert after["retrain/movie_sentiment"] > before["retrain/movie_sentiment"]
    assert after["monitor/movie_sentiment"] == before["monitor/movie_sentiment"]
    (project / ".modelyard/schedules.json").write_text("{")
    assert offered_since(project, deployments_of(project))["monitor/movie_sentiment"] > after["monitor/movie_sentiment"]


def test_killed_run_is_closed_with_what_it_called_and_its_tasks(project: Path, deployment: Any, client: Any) -> None:
    from prefect.client.schemas.objects import State

    run = scheduled_at(client, deployment, datetime.now(UTC))
    client.set_flow_run_state(run, Pending())
    client.set_flow_run_state(run, Running())
    assert mark_killed(project, [deployment.name], is_worker_there=True) == []  # its process may just be starting
    (project / FOLDER).mkdir(parents=True)
    write_json(project / FOLDER / f"{run}.json", {"process": "1:1"})  # the number of another by now
    task: State[Any]
    task = client.create_task_run(
        _a_task(), flow_run_id=run, dynamic_key=str(uuid4()), name="finetune@movie_sentiment", state=Running()
    )
    assert mark_killed(project, [deployment.name], is_worker_there=True) == [str(run)]
    assert states(client, run) == ["Crashed"]
    assert client.read_task_run(task.id).state.name == "Crashed"
    assert not list((project / FOLDER).iterdir())


def _a_task() -> Any:
    from prefect import task

    return task(lambda: None)


def test_place_that_nobody_holds_is_given_back(deployment: Any, client: Any, prefect_api: str) -> None:
    limit = deployment.global_concurrency_limit
    url = f"{prefect_api}/v2/concurrency_limits/{limit.id}"
    httpx.patch(url, json={"active_slots": 1}, timeout=PATIENCE_S).raise_for_status()
    held = client.read_deployment(deployment.id)
    assert held.global_concurrency_limit.active_slots == 1
    free_slots(client, [held])
    assert client.read_deployment(deployment.id).global_concurrency_limit.active_slots == 0
