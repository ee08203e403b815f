import copy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.params import Canary
from components.plumbing.errors import ParamsError
from components.recipes import load_yaml, parse_recipe, stages

ROOT = Path(__file__).parent.parent.parent
CANARY = {
    "mode": "shadow",
    "share": 0.5,
    "requests": 10,
    "min_agreement": 0.9,
    "max_error_rate": 0.0,
    "max_latency_ratio": 2.0,
}
SERVICE = {"port": 3000, "traffic": "hash", "drain_timeout_s": 60, "canary": CANARY}


def recipe(name: str, **service: object) -> dict:
    raw = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"][name])
    return raw | {"serve": True, "service": copy.deepcopy(SERVICE | service)}


def test_service_is_no_stage_and_may_be_left_out() -> None:
    assert "service" not in stages()
    assert "serve" not in stages()
    raw = recipe("movie_sentiment")
    parsed = parse_recipe("movie", raw)
    assert parsed.service is not None
    assert isinstance(parsed.service.canary, Canary)
    del raw["serve"], raw["service"]
    assert parse_recipe("movie", raw).service is None


def test_serve_without_a_service_is_refused() -> None:
    raw = recipe("movie_sentiment")
    del raw["service"]
    with pytest.raises(ParamsError, match="serve is true, but there is no section 'service'") as refused:
        parse_recipe("movie", raw)
    advice = str(refused.value).partition("; add ")[2]  # which is whole
    assert parse_recipe("movie", raw | YAML(typ="safe").load(advice)).service


@pytest.mark.parametrize(
    ("name", "service", "message"),
    [
        ("movie_sentiment", {"port": 80}, r"service.port: input should be greater than or equal to 1024; .* is 80"),
        ("movie_sentiment", {"traffic": "all"}, "service.traffic: input should be 'text' or 'hash'"),
        ("movie_sentiment", {"prot": 3000}, "service.prot: unknown key .did you mean 'port'"),
        ("movie_sentiment", {"canary": {"mode": "none", "share": 0.5}}, "service.canary.share: unknown key"),
        ("movie_sentiment", {"canary": CANARY | {"share": 0.0}}, "canary.share: input should be greater than 0"),
        ("movie_sentiment", {"canary": CANARY | {"min_agreement": None}}, "have labels to compare; give a share"),
        ("speech_gpt", {}, "min_agreement is 0.9, but answers of text_generation have no labels"),
    ],
)  # fmt: skip
def test_setting_that_cannot_be_kept_is_refused(name: str, service: dict, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse_recipe("movie", recipe(name, **service))


def test_trial_that_nothing_would_hold_is_refused() -> None:
    raw = recipe("movie_sentiment")
    raw["promotion"]["then"] = "trial"
    parse_recipe("movie", raw)
    raw["service"]["canary"] = {"mode": "none"}
    with pytest.raises(ParamsError, match=r"promotion.then is 'trial', but nothing tries a challenger"):
        parse_recipe("movie", raw)
