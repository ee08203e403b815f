"""The effort of a new recipe's trainings: as much as the minutes of a run allow, by the one estimate.

The minutes become epochs and steps; a training watches no clock. So two runs of the recipe give the same weights, and
one that was stopped carries on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from components.plumbing.errors import ModelyardError
from flows.new.reading import Trained
from flows.new.settings import LOWER_LAYERS, RecipeSettings

if TYPE_CHECKING:
    from components.estimate.recipe import Estimate

DEFAULT_MINUTES = 15.0
SHORT_TOKENS = 128
"""The tokens that texts are cut to where longer ones would leave time for a single epoch, or for less: attention over
twice as many takes more than twice as long, and what a text is about is seldom said at its end alone."""
PRETRAIN_SHARE = 0.7
"""The share of the time for trainings that pretraining may take."""
MIN_TRAINING_S = 30.0
FEWEST_STEPS = 50
LOOKS_AN_EPOCH = 4
PATIENCE = 3
MAX_LOOKING_SHARE = 0.1
"""The most time that looks at the validation split may take, as a share of the steps."""
FORWARD_SHARE = 0.3
"""The forward pass of a batch, as a share of its step."""
MIN_STEPS_OF_A_LOOK = 50

Told = Callable[[RecipeSettings, Trained | None], "Estimate"]


@dataclass(frozen=True)
class Effort:
    """The settings that were chosen, and the time and memory that a run with them takes."""

    settings: RecipeSettings
    trained: Trained | None
    told: "Estimate | None"
    """The estimate of a run; None where none could be made."""


def fit(
    settings: RecipeSettings, trained: Trained | None, told: Told, *, minutes: float,
    cut_share: Callable[[int], float], may_freeze: bool,
) -> Effort:  # fmt: skip
    """Choose the epochs, and where even one is too many shorter texts, fewer trained layers, and fewer steps, so that a
    run takes no more than `minutes`.

    `told` estimates a recipe of such settings, and `cut_share` says which share of the texts a length cuts.
    """
    try:
        found = told(settings, trained)
    except (ModelyardError, RuntimeError, NotImplementedError):  # the run says what is wrong, where anything is
        return Effort(settings, trained, None)
    chosen, budget_s = settings, 60 * minutes
    if trained and found.seconds > budget_s:
        pretrain_s = PRETRAIN_SHARE * time_left(found, budget_s)
        share = pretrain_s / max(1e-9, seconds_of(found, "pretrain"))
        trained = replace(trained, pretrain_epochs=max(1, math.floor(trained.pretrain_epochs * min(1.0, share))))
        found = told(chosen, trained)
    affordable = epochs_left(found, chosen, budget_s)
    if affordable < min(2, chosen.epochs) and chosen.max_tokens > SHORT_TOKENS:
        chosen = replace(chosen, max_tokens=SHORT_TOKENS, cut_share=cut_share(SHORT_TOKENS))
        found = told(chosen, trained)
        affordable = epochs_left(found, chosen, budget_s)
    if affordable < 1 and may_freeze and not trained:
        chosen = replace(chosen, freeze=LOWER_LAYERS)
        found = told(chosen, trained)
        affordable = epochs_left(found, chosen, budget_s)
    num_steps = found.trainings[-1].num_steps // chosen.epochs
    steps = None if affordable >= 1 else max(FEWEST_STEPS, math.floor(num_steps * affordable))
    chosen = replace(chosen, epochs=max(1, min(chosen.epochs, math.floor(affordable))), steps_per_epoch=steps)
    chosen = looking(chosen, num_steps=steps or num_steps)
    found = told(chosen, trained)
    if trained:
        trained = replace(trained, pretrain_s=seconds_of(found, "pretrain"))
    return Effort(replace(chosen, training_s=seconds_of(found, "finetune"), run_s=found.seconds), trained, found)


def looking(settings: RecipeSettings, *, num_steps: int) -> RecipeSettings:
    """Return the settings with looks at the validation split within an epoch, where epochs are long."""
    batches = settings.num_test / settings.batch_size
    cheap = math.ceil(batches * FORWARD_SHARE / MAX_LOOKING_SHARE)
    every = max(MIN_STEPS_OF_A_LOOK, math.ceil(num_steps / LOOKS_AN_EPOCH), cheap)
    if every > num_steps // 2:
        return settings
    return replace(settings, look_every=every, patience=PATIENCE)


def seconds_of(found: "Estimate", stage: str) -> float:
    """Return the seconds of the trainings of a stage."""
    return sum(training.seconds for training in found.trainings if training.title.split(",")[0] == stage)


def time_left(found: "Estimate", budget_s: float) -> float:
    """Return the seconds that the budget leaves for trainings."""
    return max(MIN_TRAINING_S, budget_s - found.seconds + sum(training.seconds for training in found.trainings))


def epochs_left(found: "Estimate", settings: RecipeSettings, budget_s: float) -> float:
    """Return how many epochs of finetune the budget leaves time for."""
    left_s = max(MIN_TRAINING_S, time_left(found, budget_s) - seconds_of(found, "pretrain"))
    return left_s / max(1e-9, seconds_of(found, "finetune") / settings.epochs)
