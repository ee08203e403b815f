"""What params.yaml schedules, in Prefect's terms."""

import shutil
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from ruamel.yaml import YAML

from components.plumbing.errors import InputError, ParamsError
from components.recipes import load_recipe
from flows.upkeep.deployments import deploy_schedules, deployments_of
from flows.upkeep.planned import faulty_recipes
from flows.upkeep.times import described
from tests.prefect_client import prefect_client
from tests.processes import at_work
from tests.projects import ROOT, edit

A_YEAR = {"cron": "0 0 31 12 *", "timezone": "UTC", "limit_s": 600}  # nothing of it is due while a test runs
PREFECT = YAML(typ="safe").load(ROOT / "prefect.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_each_recipe_with_a_schedule_has_a_deployment(project: Path) -> None:
    edit(project, "digits.schedule", {"interval_s": 3600, "timezone": "Europe/Berlin", "limit_s": 600})
    made = {(one.flow_name, one.name): one for one in deployments_of(project)}
    assert made.keys() == {("retrain", "movie_sentiment"), ("monitor", "movie_sentiment"), ("retrain", "digits")}
    movie, digits = made["retrain", "movie_sentiment"], made["retrain", "digits"]
    watching = made["monitor", "movie_sentiment"]
    assert watching.entrypoint == "flows.upkeep.monitor.monitor"
    assert watching.parameters == movie.parameters
    assert (movie.name, movie.parameters) == ("movie_sentiment", {"recipe": "movie_sentiment", "root": str(project)})
    assert movie.entrypoint == "flows.upkeep.retrain.retrain"
    (cron,), (interval,) = movie.schedules, digits.schedules
    assert (cron.schedule.cron, cron.schedule.timezone) == ("0 3 * * 1", "UTC")
    assert interval.schedule.interval.total_seconds() == 3600
    assert (movie.concurrency_limit, movie.concurrency_options.collision_strategy.value) == (1, "ENQUEUE")
    assert described(load_recipe(project, "digits").schedule) == "every 3,600 s, at most 600 s"


def test_sweep_has_a_schedule_of_its_own(project: Path) -> None:
    edit(project, "digits.sweep.schedule", A_YEAR)
    (made,) = [one for one in deployments_of(project) if one.flow_name == "sweep"]
    assert made.entrypoint == "flows.upkeep.sweep.sweep"
    assert (made.name, made.parameters) == ("digits", {"recipe": "digits", "root": str(project)})
    assert made.concurrency_options.collision_strategy.value == "CANCEL_NEW"
    edit(project, "digits.sweep.schedule", A_YEAR | {"cron": "every day"})
    assert "recipes.digits.sweep.schedule" in str(faulty_recipes(project)["digits"])


def test_prefect_yaml_says_what_params_yaml_says() -> None:
    said = {(one["parameters"]["recipe"], one["description"]): one for one in PREFECT["deployments"]}
    made = {(one.parameters["recipe"], one.description): one for one in deployments_of(ROOT, pool="modelyard")}
    assert said.keys() == made.keys()
    assert len(said) == len(PREFECT["deployments"])
    for name, one in made.items():
        (schedule,) = one.schedules
        assert said[name]["name"] == one.name
        assert said[name]["description"] == one.description
        assert said[name]["tags"] == one.tags
        assert said[name]["work_pool"]["name"] == one.work_pool_name
        assert said[name]["schedules"] == [{"cron": schedule.schedule.cron, "timezone": schedule.schedule.timezone}]
        limit = {"limit": one.concurrency_limit, "collision_strategy": one.concurrency_options.collision_strategy.value}
        assert said[name]["concurrency_limit"] == limit
        path, function = said[name]["entrypoint"].split(":")
        assert (ROOT / path).is_file()
        assert one.entrypoint == f"{path.removesuffix('.py').replace('/', '.')}.{function}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cron": "0 3 * * 1", "interval_s": 3600, "timezone": "UTC", "limit_s": 600}, "one of the two"),
        ({"timezone": "UTC", "limit_s": 600}, "one of the two"),
        ({"cron": "0 3 *", "timezone": "UTC", "limit_s": 600}, "has 3 fields; it needs 5"),
        ({"cron": "0 3 * * 1", "timezone": "Europe/Berln", "limit_s": 600}, "did you mean 'Europe/Berlin'"),
        ({"interval_s": 5, "timezone": "UTC", "limit_s": 600}, "greater than or equal to 60"),
        ({"interval_s": 3600, "limit_s": 600}, "timezone: missing"),
        ({"crom": "0 3 * * 1", "timezone": "UTC", "limit_s": 600}, r"unknown key \(did you mean 'cron'\?\)"),
    ],
)
def test_schedule_that_cannot_be_is_refused(project: Path, change: dict, message: str) -> None:
    edit(project, "movie_sentiment.schedule", change)
    with pytest.raises(ParamsError, match=message):
        load_recipe(project, "movie_sentiment")


def test_recipe_with_faults_does_not_take_the_schedules_of_others(project: Path) -> None:
    edit(project, "digits.schedule", A_YEAR)
    edit(project, "movie_sentiment.finetune.epochs", "two")
    faulty = faulty_recipes(project)
    assert list(faulty) == ["movie_sentiment"]
    assert "recipes.movie_sentiment.finetune.epochs" in str(faulty["movie_sentiment"])
    made = {one.parameters["recipe"] for one in deployments_of(project, without=faulty)}
    assert "digits" in made
    assert "movie_sentiment" not in made
    with pytest.raises(ParamsError, match=r"movie_sentiment.finetune.epochs"):
        deployments_of(project)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("movie_sentiment.promotion", None, "schedule trains again and promotes what is better"),
        ("digits.promotion", None, "monitoring.retrain trains again and promotes what is better"),
        ("movie_sentiment.promotion.slices.by", ["slice"], "preprocess.slice names no column"),
        ("movie_sentiment.promotion.slices.by", [], "at least 1"),
        ("movie_sentiment.promotion.max_drop", -0.1, "greater than or equal to 0"),
        ("movie_sentiment.promotion.indifference", 0.04, "indifference is 0.04, above max_drop 0.03"),
        ("movie_sentiment.promotion.latency.max_ratio", 0.0, "greater than 0"),
        ("speech_gpt.promotion.slices", {"by": ["label"], "max_drop": 0.1, "min_rows": 5}, "slices is for classifiers"),
    ],
)
def test_gate_that_could_not_be_judged_is_refused(project: Path, path: str, value: object, message: str) -> None:
    edit(project, path, value)
    with pytest.raises(ParamsError, match=message):
        load_recipe(project, path.split(".")[0])


def test_cron_that_names_no_day_is_refused_and_holds_up_no_other_recipe(project: Path) -> None:
    edit(project, "movie_sentiment.monitoring.schedule.cron", "0 3 31 2 *")
    edit(project, "digits.schedule", A_YEAR)
    with pytest.raises(ParamsError, match=r"monitoring.schedule: '0 3 31 2 \*' is no cron expression \(bad day-of"):
        load_recipe(project, "movie_sentiment")
    faulty = faulty_recipes(project)
    assert list(faulty) == ["movie_sentiment"]
    assert [one.parameters["recipe"] for one in deployments_of(project, without=faulty)] == ["digits"]


@pytest.mark.parametrize("section", ["schedule", "monitoring.schedule"])
def test_bad_cron_is_refused_when_params_are_read(project: Path, section: str) -> None:
    edit(project, f"movie_sentiment.{section}.cron", "0 99 * * 1")
    with pytest.raises(ParamsError, match=rf"recipes.movie_sentiment.{section}: '0 99 \* \* 1' is no cron expression"):
        load_recipe(project, "movie_sentiment")


@pytest.fixture
def server(prefect_api: str) -> Generator[httpx.Client]:
    """Prefect's, for this process as for the test's own questions, with the work pools `crew` and `night`."""
    with temporary_settings({PREFECT_API_URL: prefect_api}), prefect_client(prefect_api) as client:
        for pool in ("crew", "night"):
            client.post("/work_pools/", json={"name": pool, "type": "process"}).raise_for_status()
        yield client


def of_recipe(server: httpx.Client, recipe: str) -> dict[str, str]:
    """The deployments there, by their names, with their ids."""
    flows = {one["id"]: one["name"] for one in server.post("/flows/filter", json={}).raise_for_status().json()}
    given = {"deployments": {"tags": {"all_": [recipe]}}}
    found = server.post("/deployments/filter", json=given).raise_for_status().json()
    return {f"{flows[one['flow_id']]}/{one['name']}": one["id"] for one in found}


@pytest.mark.long
def test_deployments_go_with_their_schedules_and_nobody_elses(
    project: Path, server: httpx.Client, prefect_api: str
) -> None:
    other = project / "other"
    other.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(project / name, other / name)
    edit(other, "digits.schedule", A_YEAR)
    for name in ("schedule", "monitoring.schedule"):
        edit(other, f"movie_sentiment.{name}", None)
        edit(project, f"movie_sentiment.{name}", A_YEAR)
    deploy_schedules(other, pool="crew")
    for pool in ("night", "crew"):
        deploy_schedules(project, pool=pool)
    by_worker = deployments_of(project)
    for one in (*by_worker, deployments_of(project, pool="crew")[0].model_copy(update={"name": "by hand"})):
        one.apply()
    digits, movie = of_recipe(server, "digits"), of_recipe(server, "movie_sentiment")
    assert (len(digits), len(movie)) == (1, 7)

    retrain, monitor = "retrain/movie_sentiment-crew", "monitor/movie_sentiment-crew"
    waiting = server.post(f"/deployments/{movie[retrain]}/create_flow_run", json={}).raise_for_status().json()["id"]
    edit(project, "movie_sentiment.schedule", None)
    done = deploy_schedules(project, pool="crew")
    assert ([one["name"] for one in done["deployments"]], done["removed"]) == ([monitor], [retrain])
    assert server.get(f"/flow_runs/{waiting}").status_code == 404
    edit(project, "movie_sentiment.monitoring.schedule", None)
    done = deploy_schedules(project, pool="crew")
    assert (done["deployments"], done["removed"]) == ([], [monitor])
    with pytest.raises(InputError, match=r"no recipe of params.yaml has a 'schedule'"):
        deploy_schedules(project, pool="crew")
    assert of_recipe(server, "movie_sentiment").keys() == movie.keys() - {retrain, monitor}

    with at_work(["modelyard", "worker"], project, PREFECT_API_URL=prefect_api) as worker:
        assert worker.stdout is not None
        said = next(line for line in worker.stdout if "removed" in line)
    assert "params.yaml has no schedule for it: " in said
    gone = {f"{one.flow_name}/{one.name}" for one in by_worker}
    assert all(name in said for name in gone)
    assert of_recipe(server, "movie_sentiment").keys() == movie.keys() - {retrain, monitor} - gone
    assert of_recipe(server, "digits") == digits
