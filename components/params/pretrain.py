"""The sections of pretrain, the stage that makes the model that finetune starts from: one for each mode."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families import ModelSettings
from components.params.section import Section, Share
from components.params.sources import ModelSource
from components.params.training import Optimizer, Training


class NoPretraining(Section):
    """The mode without pretraining, in which finetune makes its own model."""

    mode: Literal["none"]


class Load(Section):
    """The mode that starts from an existing model."""

    mode: Literal["load"]
    source: ModelSource


class Masked(Section):
    """The objective of masked language modelling (Devlin et al. 2018): some tokens are hidden and predicted from the
    rest."""

    name: Literal["masked"]
    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of tokens to predict."""
    mean_span: Annotated[float, Field(ge=1)]
    """The average number of tokens in a row that are hidden together (Joshi et al. 2019,
    SpanBERT); 1 for single tokens."""


class Causal(Section):
    """The objective of predicting each token from those before it."""

    name: Literal["causal"]


class Adversarial(Section):
    """The objective of a generator and a discriminator that train against each other (Goodfellow et al.
    2014, non-saturating loss)."""

    name: Literal["adversarial"]
    label_smoothing: Share
    """The amount by which the discriminator's target for real rows lies below 1."""
    discriminator: Optimizer
    """The discriminator's optimizer; the generator uses the training's own optimizer."""
    max_shift: Annotated[int, Field(ge=0, le=64)]
    """The most pixels by which the images that the discriminator sees, real and generated alike, are shifted up, down,
    left or right (Zhao et al. 2020, DiffAugment). With few rows it delays learning them by heart."""
    averaging: Annotated[float, Field(gt=0, lt=1)] | None
    """The share of itself that a running mean of the generator's weights keeps at each step; that mean is the model
    (Yaz et al. 2018, 'The unusual effectiveness of averaging in GAN training'). Null keeps the weights of the last
    step."""


class PretrainFromData(Training):
    """The mode that trains a model without labels, on the recipe's own rows."""

    mode: Literal["train"]
    source: ModelSource | None
    """The weights to start from: `champion` or a folder; null starts from scratch."""
    model: ModelSettings
    objective: Annotated[Masked | Causal | Adversarial, Field(discriminator="name")]

    def optimizer_of(self, player: str) -> Optimizer:
        if isinstance(self.objective, Adversarial) and player == "discriminator":
            return self.objective.discriminator
        return self.optimizer


Pretrain = Annotated[NoPretraining | Load | PretrainFromData, Field(discriminator="mode")]
