"""The sections of finetune, the training on labels: one for each mode."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.families import ModelSettings
from components.params.section import Positive, Section
from components.params.sources import ModelSource
from components.params.training import Training


class NoFinetuning(Section):
    """The mode without training: the pretrained model is passed on as it is."""

    mode: Literal["none"]


class Full(Section):
    """The way that trains every weight except those that are frozen."""

    name: Literal["full"]
    freeze: tuple[str, ...]
    """The parts of the encoder that are not trained, each given by the beginning of its parameters' names
    (`embeddings`)."""


class HeadOnly(Section):
    """The way that trains the classification head alone."""

    name: Literal["head"]


class LastLayers(Section):
    """The way that trains the head and the last layers of the encoder."""

    name: Literal["last"]
    num_layers: Positive


class Lora(Section):
    """The way that trains low-rank additions to the attention's products (Hu et al. 2021), merged
    into the weights at the end."""

    name: Literal["lora"]
    rank: Positive
    alpha: Positive
    """The numerator of the additions' scale, alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Adapt(Training):
    """The mode that trains a classification head and the pretrained encoder below it together."""

    mode: Literal["adapt"]
    way: Annotated[Full | HeadOnly | LastLayers | Lora, Field(discriminator="name")]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of the classification head."""
    class_weights: Literal["none", "balanced"]
    """The weights of the classes in the loss; with balanced, a class counts in inverse proportion to its number of
    rows."""
    control: bool
    """True to train the model without pretraining too, so that evaluate can tell what pretraining gained."""
    pad_to_multiple_of: Positive = 8
    """The number of tokens to whose next multiple the rows of a batch are padded."""
    sparse_embeddings: bool = False
    """True to move, of the embeddings of tokens, only those that a batch reads, as in torch's SparseAdam; the others,
    with their running means and their decay, rest meanwhile."""

    @model_validator(mode="after")
    def _has_embeddings_to_train(self) -> "Adapt":
        if not self.sparse_embeddings:
            return self
        if self.optimizer.name not in ("adam", "adamw"):
            raise ValueError(f"sparse_embeddings is for adam and adamw, not for {self.optimizer.name}; leave it out")
        if self.way.name != "full" or any(part.startswith("embeddings") for part in self.way.freeze):
            raise ValueError("sparse_embeddings has no effect where the embeddings are not trained; leave it out")
        return self


class Augment(Section):
    """The random moves of an image, drawn anew each time that training sees it."""

    shift: Annotated[int, Field(ge=0, le=64)]
    """The most pixels by which an image is moved up, down, left or right."""
    rotate: Annotated[float, Field(ge=0, le=180)]
    """The most degrees by which an image is turned either way."""


class TrainFromLabels(Training):
    """The mode that trains a model of its own on the labels alone."""

    mode: Literal["train"]
    source: ModelSource | None
    """The weights to start from: `champion` or a folder; null starts from scratch."""
    model: ModelSettings
    augment: Augment | None
    """The moves of images in training, allowed for tasks of images only; null leaves the images as they are."""
    class_weights: Literal["none", "balanced"]
    """The weights of the classes in the loss; with balanced, a class counts in inverse proportion to its number of
    rows."""


Finetune = Annotated[NoFinetuning | Adapt | TrainFromLabels, Field(discriminator="mode")]
