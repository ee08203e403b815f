"""The sections of finetune, one a mode: training on the labels."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families import ModelSettings
from components.params.section import Positive, Section
from components.params.sources import ModelSource
from components.params.training import Training


class NoFinetuning(Section):
    """The pretrained model is the model; it is passed on as it is."""

    mode: Literal["none"]


class Full(Section):
    """Train every weight, but for what is frozen."""

    name: Literal["full"]
    freeze: tuple[str, ...]
    """Parts of the encoder that are not trained, by the beginning of their parameters' names (`embeddings`)."""


class HeadOnly(Section):
    """Train the classification head alone."""

    name: Literal["head"]


class LastLayers(Section):
    """Train the head and the last layers of the encoder."""

    name: Literal["last"]
    num_layers: Positive


class Lora(Section):
    """Train low-rank additions to the attention's products (Hu et al. 2021), merged into the weights at the end."""

    name: Literal["lora"]
    rank: Positive
    alpha: Positive
    """The additions are scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Adapt(Training):
    """A classification head on the pretrained encoder, trained together."""

    mode: Literal["adapt"]
    way: Annotated[Full | HeadOnly | LastLayers | Lora, Field(discriminator="name")]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Of the classification head."""
    class_weights: Literal["none", "balanced"]
    """balanced: a class counts in inverse proportion to its rows."""
    control: bool
    """Whether the same model is trained beside it without pretraining, so that evaluate can tell what that gained."""


class Augment(Section):
    """Each image is moved a little each time it is seen."""

    shift: Annotated[int, Field(ge=0, le=64)]
    """At most so many pixels up, down, left or right."""
    rotate: Annotated[float, Field(ge=0, le=180)]
    """At most so many degrees either way."""


class TrainFromLabels(Training):
    """A model of its own, trained on the labels alone."""

    mode: Literal["train"]
    source: ModelSource | None
    """The weights to start from: `champion` or a folder; null starts from scratch."""
    model: ModelSettings
    augment: Augment | None
    """Of images only; null for as they are."""
    class_weights: Literal["none", "balanced"]
    """balanced: a class counts in inverse proportion to its rows."""


Finetune = Annotated[NoFinetuning | Adapt | TrainFromLabels, Field(discriminator="mode")]
