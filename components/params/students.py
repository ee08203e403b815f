"""The sections of students: smaller networks that learn from the fine-tuned one (components/compress/students)."""

from typing import Annotated

from pydantic import Field, model_validator

from components.params.finetune import Augment
from components.params.section import Positive, Section, Share
from components.params.training import Training

Part = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Shape(Section):
    """The part of the fine-tuned network that a student keeps."""

    layers: Positive | None
    """The number of layers of an encoder that are kept; null keeps all, as it does for a perceptron."""
    feed_forward: Part
    """The share of the feed-forward units of an encoder's layers that are kept, or of a perceptron's hidden units."""
    heads: Part
    """The share of each layer's attention heads that are kept; 1 for a perceptron, which has none."""
    rank: Part | None
    """The share of its full rank that a product keeps as two smaller ones; null leaves products whole."""

    @property
    def name(self) -> str:
        """A name of the shape, short enough for tables and plots (`4 layers, ff 0.5`)."""
        told = [
            f"{self.layers} layer{'s' * (self.layers > 1)}" if self.layers else "",
            f"ff {self.feed_forward:g}" if self.feed_forward < 1 else "",
            f"heads {self.heads:g}" if self.heads < 1 else "",
            f"rank {self.rank:g}" if self.rank else "",
        ]
        return ", ".join(filter(None, told)) or "whole"


class AlterTexts(Section):
    """The alteration of the texts of a distillation, anew in each epoch; one way is drawn for each text.

    The labels of altered texts are not known, and are not needed: the teacher says what it thinks of each.
    """

    mask: Share
    """The share of texts in which words are masked."""
    drop: Share
    """The share of texts from which words are dropped."""
    splice: Share
    """The share of texts whose end is that of another text."""
    words: Part
    """The share of a text's tokens that are masked or dropped."""

    @model_validator(mode="after")
    def _adds_up(self) -> "AlterTexts":
        if self.mask + self.drop + self.splice > 1:
            raise ValueError("mask, drop and splice are shares of all texts; together they are at most 1")
        return self


class Distillation(Training):
    """The training of a student by its teacher (Hinton et al. 2015, Sanh et al. 2019, Jiao et al. 2020).

    The rows are those of the training split, and of texts those without a label, too. `accuracy` and `f1_macro` of
    early stopping are measured against the labels of the validation split, and `loss` is the cross-entropy there.
    """

    temperature: Annotated[float, Field(gt=0)]
    """What the logits of both are divided by before they are compared; above 1, small probabilities count more."""
    hidden: Weight
    """The weight of the mean squared difference of the states after each kept layer, of an encoder alone."""
    labels: Weight
    """The weight of the cross-entropy on the rows' own labels; of altered texts they are not known."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of the whole student."""
    freeze: tuple[str, ...]
    """The parts of the student that are not trained, each given by the beginning of its parameters' names below the
    encoder (`embeddings`)."""
    texts: AlterTexts | None = None
    """How texts are altered; null leaves them as they are."""
    images: Augment | None = None
    """The moves of images; null leaves them as they are."""

    @model_validator(mode="after")
    def _knows_labels(self) -> "Distillation":
        if self.labels and self.texts:
            raise ValueError("labels weighs what altered texts do not have; set it to 0, or texts to null")
        return self
