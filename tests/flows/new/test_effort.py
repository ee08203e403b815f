import math
from types import SimpleNamespace
from typing import Any

import pytest

from components.plumbing.errors import InputError
from flows.new.effort import fit
from flows.new.reading import Trained
from flows.new.settings import EMBEDDINGS, LOWER_LAYERS, RecipeSettings
from tests.flows.new.test_new import chosen


class Told:
    """Estimates by so many seconds a token and step, as a machine would give them, and what was asked of them."""

    def __init__(self, token_s: float, *, num_rows: int, other_s: float = 60.0) -> None:
        self.token_s, self.num_rows, self.other_s = token_s, num_rows, other_s
        self.asked: list[RecipeSettings] = []

    def __call__(self, settings: RecipeSettings, trained: Trained | None) -> Any:
        self.asked.append(settings)
        steps = settings.steps_per_epoch or math.ceil(self.num_rows / settings.batch_size)
        share = 0.5 if settings.freeze == LOWER_LAYERS else 1.0
        step_s = settings.batch_size * settings.max_tokens * self.token_s * share
        trainings = [
            SimpleNamespace(
                title="finetune", num_steps=settings.epochs * steps, seconds=settings.epochs * steps * step_s
            )
        ]
        if trained:
            pretrain_s = trained.pretrain_epochs * self.num_rows * settings.max_tokens * self.token_s
            trainings.insert(0, SimpleNamespace(title="pretrain", num_steps=1, seconds=pretrain_s))
        return SimpleNamespace(seconds=self.other_s + sum(one.seconds for one in trainings), trainings=trainings)


@pytest.mark.parametrize(
    ("minutes", "epochs", "max_tokens", "freeze", "all_rows"),
    [
        (60, 4, 256, EMBEDDINGS, True),
        (11, 2, 256, EMBEDDINGS, True),
        (5, 1, 128, EMBEDDINGS, True),
        (2.5, 1, 128, LOWER_LAYERS, True),
        (1.6, 1, 128, LOWER_LAYERS, False),
    ],
)
def test_minutes_become_epochs_then_shorter_texts_then_fewer_layers_then_fewer_steps(
    minutes: float, epochs: int, max_tokens: int, freeze: tuple[str, ...], all_rows: bool
) -> None:
    settings = chosen({"a": 3_000, "b": 3_000}, tokens=300)
    assert (settings.epochs, settings.max_tokens, settings.run_s) == (4, 256, None)
    told = Told(2e-4, num_rows=4_800)
    found = fit(settings, None, told, minutes=minutes, cut_share=lambda length: length / 1000, may_freeze=True)
    got = found.settings
    assert (got.epochs, got.max_tokens, got.freeze, got.steps_per_epoch is None) == (
        epochs, max_tokens, freeze, all_rows
    )  # fmt: skip
    assert got.run_s is not None
    assert got.run_s <= 60 * minutes * 1.01
    assert got.run_s == told(got, None).seconds
    assert got.cut_share == (settings.cut_share if max_tokens == 256 else 0.128)
    assert got.look_every is None or (got.patience, got.look_every) == (3, 57)
    if not all_rows:
        assert got.steps_per_epoch == 87


def test_pretraining_gets_a_part_of_the_minutes() -> None:
    trained = Trained(6_000, True, 128, 2, pretrain_epochs=40, pretrain_s=0.0)
    settings = chosen({"a": 3_000, "b": 3_000}, tokens=20)
    told = Told(2e-4, num_rows=4_800)
    found = fit(settings, trained, told, minutes=5, cut_share=lambda length: 0.0, may_freeze=True)
    assert found.trained is not None
    assert 0 < found.trained.pretrain_epochs < 40
    assert found.settings.freeze == EMBEDDINGS
    assert found.settings.run_s is not None
    assert found.settings.run_s <= 300


def test_what_cannot_be_estimated_is_proposed_all_the_same() -> None:
    def told(settings: RecipeSettings, trained: Trained | None) -> Any:
        raise InputError("the shape of the encoder is not known")

    settings = chosen({"a": 300, "b": 300})
    assert fit(settings, None, told, minutes=5, cut_share=lambda length: 0.0, may_freeze=True).settings == settings
