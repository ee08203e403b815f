import copy
from pathlib import Path

import pytest

from components.errors import ParamsError
from components.recipes import load_yaml, parse_recipe

ROOT = Path(__file__).parent.parent.parent
OF_ITS_OWN = {
    "mode": "train",
    "seed": 0,
    "epochs": 1,
    "steps_per_epoch": None,
    "batch_size": "full",
    "model": {"family": "mlp", "hidden_sizes": [4], "activation": "relu", "batch_norm": False, "dropout": 0.0},
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


def test_mode_that_gives_no_model_for_the_task_is_refused(raw):
    raw["finetune"] = {"mode": "none"}
    with pytest.raises(
        ParamsError, match=r"finetune.mode is 'none', but for text_classification it is one of .'adapt'"
    ):
        parse_recipe("movie", raw)


def test_augmentation_of_what_is_no_image_is_refused(raw):
    raw |= {"pretrain": {"mode": "none"}, "finetune": OF_ITS_OWN}
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
def test_setting_of_a_training_out_of_its_range_is_refused(raw, key, value, message):
    raw |= {"pretrain": {"mode": "none"}, "finetune": OF_ITS_OWN | {key: value}}
    with pytest.raises(ParamsError, match=message):
        parse_recipe("movie", raw)
