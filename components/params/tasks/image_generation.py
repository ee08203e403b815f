"""The sections of a recipe that generates images."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.arrays import ArrayData
from components.params.section import Positive, Section, Share
from components.params.task import TaskFigures, TaskSections, TaskServing


class ImageGenerationData(ArrayData):
    """The section preprocess: rows of a grey image and its label."""

    task: Literal["image_generation"]

    @model_validator(mode="after")
    def _images(self) -> "ImageGenerationData":
        if len(self.shape) != 2:
            raise ValueError(f"shape {list(self.shape)} is no image's; it has two sides")
        return self


class SampleGate(Section):
    max_frechet_ratio: Annotated[float, Field(gt=0)]
    """The largest ratio of the generator's Fréchet distance to that of an untrained generator."""
    max_class_share: Share
    """The largest share of samples that the classifier assigns to one class; every class must occur among the
    samples."""
    min_diversity: Annotated[float, Field(ge=0)]
    """The least ratio of the mean distance between two samples to that between two real rows; it is near 0 where all
    samples are alike."""
    min_classifier_accuracy: Share
    """The least accuracy on the test split of the classifier whose features are compared; the features of a worse one
    say nothing."""


class ImageGenerationFigures(TaskFigures):
    task: Literal["image_generation"]
    num_samples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    classifier_epochs: Positive
    """The epochs for training the classifier whose features are compared; evaluate trains it on the real training
    split."""
    gate: SampleGate


class ImageGenerationServing(TaskServing):
    """The limits of POST /sample."""

    task: Literal["image_generation"]
    max_samples: Positive
    """The most samples in one request."""


SECTIONS = TaskSections(
    preprocess=ImageGenerationData,
    evaluate=ImageGenerationFigures,
    serving=ImageGenerationServing,
    finetuning=("none",),
    objectives=("adversarial",),
)
