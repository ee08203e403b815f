import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.errors import ParamsError
from components.recipes import load_yaml, parse_recipe

ROOT = Path(__file__).parent.parent.parent
OF_ITS_OWN = {
    "mode": "train",
    "source": None,
    "seed": 0,
    "epochs": 1,
    "steps_per_epoch": None,
    "batch_size": "full",
    "model": {"hidden_sizes": [4], "activation": "relu", "batch_norm": False, "dropout": 0.0},
    "augment": None,
    "precision": "fp32",
    "optimizer": {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.9},
    "schedule": {"name": "one_cycle", "warmup_share": 0.3},
    "clip": {"by": "value", "limit": 1.0},
    "class_weights": "none",
    "early_stopping": None,
}


@pytest.fixture
def raw() -> dict:
    return copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])


def test_mode_that_gives_no_model_for_the_task_is_refused(raw: dict) -> None:
    raw["finetune"] = {"mode": "none"}
    with pytest.raises(
        ParamsError, match=r"finetune.mode is 'none', but for text_classification it is one of .'adapt'"
    ):
        parse_recipe("movie", raw)


def test_augmentation_of_what_is_no_image_is_refused(raw: dict) -> None:
    raw |= {"family": "mlp", "pretrain": {"mode": "none"}, "finetune": OF_ITS_OWN}
    parse_recipe("movie", raw)
    raw["finetune"] = OF_ITS_OWN | {"augment": {"shift": 1, "rotate": 5.0}}
    with pytest.raises(ParamsError, match=r"finetune.augment moves images, but preprocess makes none; set it to null"):
        parse_recipe("movie", raw)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 0, "batch_size"),
        ("batch_size", "whole", "batch_size"),
        ("schedule", {"name": "one_cycle", "warmup_share": 0.0}, "one_cycle rises before it falls"),
        ("schedule", {"name": "cosine", "warmup_share": 1.0}, "less than 1"),
        ("clip", {"by": "norm", "limit": 0.0}, "greater than 0"),
        ("clip", {"by": "rank", "limit": 1.0}, "'norm' or 'value'"),
    ],
)
def test_setting_of_a_training_out_of_its_range_is_refused(raw: dict, key: str, value: Any, message: str) -> None:
    raw |= {"family": "mlp", "pretrain": {"mode": "none"}, "finetune": OF_ITS_OWN | {key: value}}
    with pytest.raises(ParamsError, match=message):
        parse_recipe("movie", raw)


def recipe(name: str) -> dict:
    return copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"][name])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("speech_gpt",
         lambda r: r.update(objective="masked") or r["pretrain"].update(objective={"share": 0.2, "mean_span": 1.0}),
         r"objective is 'masked', but for text_generation it is one of .'causal'"),
        ("digit_gan", lambda r: r.update(objective="causal") or r["pretrain"].pop("objective"),
         r"'causal', but for image_generation it is one of .'adversarial'"),
        ("speech_gpt", lambda r: r.update(objective="classification"),
         r"learns from rows without their labels, but objective is 'classification'"),
        ("movie_sentiment", lambda r: r.update(objective="masked"),
         r"objective is 'masked', which pretrain.mode 'train' learns, but it is 'load'"),
        ("review_sentiment_zh", lambda r: r.update(objective="classification") or r["pretrain"].pop("objective"),
         r"review_sentiment_zh.objective: pretrain.mode is 'train'"),
        ("movie_sentiment", lambda r: r.update(family="mlp"), r"family is 'mlp', but only an encoder's weights"),
        ("movie_sentiment", lambda r: r.update(task="text_clasification"),
         r"task: there is no task .text_clasification. .did you mean 'text_classification'"),
        ("movie_sentiment", lambda r: r.pop("task"), r"recipes.movie_sentiment.task: missing; it is one of array"),
        ("movie_sentiment", lambda r: r.update(threads=0), r"recipes.movie_sentiment.threads: input should be"),
        ("digits", lambda r: r["preprocess"].update(task="array_classification"),
         r"preprocess.task: task stands once, at the top"),
        ("digits", lambda r: r["finetune"]["model"].update(family="mlp"), r"finetune.model.family: family stands once"),
        ("digit_gan", lambda r: r["pretrain"].update(early_stopping={"metric": "loss", "patience": 1}),
         r"the loss of a GAN does not tell"),
        ("speech_gpt", lambda r: r["pretrain"].update(early_stopping={"metric": "accuracy", "patience": 1}),
         r"without labels it is 'loss'"),
        ("speech_gpt", lambda r: r["package"]["serving"].update(max_prompt_tokens=256), r"reads 255 and one more"),
        ("digits", lambda r: r["compress"].update(threads=1), r"compress.threads: threads stands once, at the top"),
        ("digits", lambda r: r["validate"]["contract"].update(max_unlabelled_share=0.5), r"which uses none"),
        ("wide_mlp", lambda r: r["evaluate"].update(explain={"rows": 5, "seed": 0}),
         r"evaluate.explain shows which patches of an image mattered, but preprocess.shape is .1000., .*to null"),
        ("digits", lambda r: r["evaluate"].update(explain={"rows": 0, "seed": 0}), r"explain.rows: input should be"),
        ("digits", lambda r: r["evaluate"].update(explain={"rows": 5, "seed": 0, "min_occurrences": 3}),
         r"explain.min_occurrences"),
        ("movie_sentiment", lambda r: r["evaluate"].update(explain={"rows": 5, "seed": 0}),
         r"explain.min_occurrences: missing"),
        ("digit_gan", lambda r: r["evaluate"].update(explain={"rows": 5, "seed": 0}), r"evaluate.explain"),
        ("digits", lambda r: r["finetune"].update(seed=-1), r"finetune.seed: input should be greater than"),
    ],
)  # fmt: skip
def test_sections_that_do_not_go_together_are_refused(name: str, change: Callable[..., Any], message: str) -> None:
    raw = recipe(name)
    parse_recipe(name, raw)
    change(raw)
    with pytest.raises(ParamsError, match=message):
        parse_recipe(name, raw)


def places(error: ParamsError) -> list[str]:
    """The path of each fault, in the order of the lines."""
    return [line.split(":")[0].strip() for line in str(error).splitlines()[1:]]


@pytest.mark.parametrize("threads", [0, "two", None])
def test_fault_of_what_stands_at_the_top_is_told_once(threads: object) -> None:
    raw = recipe("movie_sentiment") | {"threads": threads}
    with pytest.raises(ParamsError) as told:
        parse_recipe("movie_sentiment", raw)
    assert places(told.value) == ["recipes.movie_sentiment.threads"]


def test_recipe_of_before_is_told_what_to_write_and_what_to_take_out() -> None:
    raw = recipe("digits")
    raw["preprocess"]["task"] = raw["evaluate"]["task"] = raw.pop("task")
    raw["finetune"]["model"]["family"] = raw.pop("family")
    del raw["objective"]
    with pytest.raises(ParamsError) as told:
        parse_recipe("digits", raw)
    assert [place.removeprefix("recipes.digits.") for place in places(told.value)] == [
        "task", "family", "objective", "preprocess.task", "evaluate.task", "finetune.model.family",
    ]  # fmt: skip
