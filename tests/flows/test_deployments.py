"""What params.yaml schedules, in Prefect's terms."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.errors import InputError, ParamsError
from components.recipes import load_recipe, load_yaml
from flows.deployments import deploy_schedules, deployments_of, described
from tests.projects import ROOT, edit

PREFECT = YAML(typ="safe").load(ROOT / "prefect.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_each_recipe_with_a_schedule_has_a_deployment(project: Path):
    edit(project, "digits.schedule", {"interval_s": 3600, "timezone": "Europe/Berlin", "limit_s": 600})
    made = {(one.flow_name, one.name): one for one in deployments_of(project)}
    assert made.keys() == {("retrain", "movie_sentiment"), ("monitor", "movie_sentiment"), ("retrain", "digits")}
    movie, digits = made["retrain", "movie_sentiment"], made["retrain", "digits"]
    watching = made["monitor", "movie_sentiment"]
    assert watching.entrypoint == "flows.monitor.monitor"
    assert watching.parameters == movie.parameters
    assert (movie.name, movie.parameters) == ("movie_sentiment", {"recipe": "movie_sentiment", "root": str(project)})
    assert movie.entrypoint == "flows.retrain.retrain"
    (cron,), (interval,) = movie.schedules, digits.schedules
    assert (cron.schedule.cron, cron.schedule.timezone) == ("0 3 * * 1", "UTC")
    assert interval.schedule.interval.total_seconds() == 3600
    assert (movie.concurrency_limit, movie.concurrency_options.collision_strategy.value) == (1, "ENQUEUE")
    assert described(load_recipe(project, "digits").schedule) == "every 3,600 s, at most 600 s"


def test_prefect_yaml_says_what_params_yaml_says():
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
def test_schedule_that_cannot_be_is_refused(project: Path, change: dict, message: str):
    edit(project, "movie_sentiment.schedule", change)
    with pytest.raises(ParamsError, match=message):
        load_recipe(project, "movie_sentiment")


def test_cron_that_prefect_cannot_read_is_named(project: Path):
    edit(project, "movie_sentiment.schedule.cron", "0 99 * * 1")
    with pytest.raises(ParamsError, match=r"recipes.movie_sentiment.schedule.cron is '0 99 \* \* 1', which is no cron"):
        deployments_of(project)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("movie_sentiment.promotion", None, "schedule trains again and promotes what is better"),
        ("digits.promotion", None, "monitoring.retrain trains again and promotes what is better"),
        ("movie_sentiment.promotion.slices.by", ["slice"], "preprocess.slice names no column"),
        ("movie_sentiment.promotion.slices.by", [], "at least 1"),
        ("movie_sentiment.promotion.max_drop", -0.1, "greater than or equal to 0"),
        ("movie_sentiment.promotion.latency.max_ratio", 0.0, "greater than 0"),
        ("speech_gpt.promotion.slices", {"by": ["label"], "max_drop": 0.1, "min_rows": 5}, "slices is for classifiers"),
    ],
)
def test_gate_that_could_not_be_judged_is_refused(project: Path, path: str, value: object, message: str):
    edit(project, path, value)
    with pytest.raises(ParamsError, match=message):
        load_recipe(project, path.split(".")[0])


def test_cron_of_monitoring_is_named_by_its_place(project: Path):
    edit(project, "movie_sentiment.monitoring.schedule.cron", "0 99 * * 1")
    with pytest.raises(ParamsError, match=r"recipes.movie_sentiment.monitoring.schedule.cron is '0 99 \* \* 1'"):
        deployments_of(project)


def test_no_schedule_leaves_nothing_to_deploy(project: Path):
    for name in load_yaml(project / "params.yaml")["recipes"]:
        edit(project, f"{name}.schedule", None)
    edit(project, "movie_sentiment.monitoring.schedule", None)
    assert deployments_of(project) == []
    with pytest.raises(InputError, match=r"no recipe of params.yaml has a 'schedule'"):
        deploy_schedules(project, pool="team")
