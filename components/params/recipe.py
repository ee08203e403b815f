"""A recipe: one section a stage."""

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from components.params.compress import Compress
from components.params.evaluate import Evaluate
from components.params.finetune import Adapt, Finetune, NoFinetuning, TrainFromLabels
from components.params.ingest import Ingest
from components.params.package import Package
from components.params.preprocess import ArrayData, Preprocess
from components.params.pretrain import NoPretraining, Pretrain, PretrainFromData
from components.params.validate import Validate

FINETUNING = {
    "text_classification": ("adapt", "train"),
    "array_classification": ("train",),
    "text_generation": ("none",),
    "image_generation": ("none",),
}
"""The modes of finetune that give a model for each task."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """One model, from its source to its bundle. Its fields are the stages; dvc.yaml says how they hang together."""

    ingest: Ingest
    validate: Validate
    preprocess: Preprocess
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    compress: Compress
    package: Package

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        task = self.preprocess.task
        for name, found in (("evaluate.task", self.evaluate.task), ("package.serving.task", self.package.serving.task)):
            if found != task:
                raise ValueError(f"{name} is '{found}', but preprocess.task is '{task}'; they are one task")
        if self.finetune.mode not in FINETUNING[task]:
            raise ValueError(
                f"finetune.mode is '{self.finetune.mode}', but for {task} it is one of {list(FINETUNING[task])}"
            )
        if isinstance(self.finetune, Adapt) and isinstance(self.pretrain, NoPretraining):
            raise ValueError("finetune.mode is 'adapt', which adapts a pretrained model, but pretrain.mode is 'none'")
        if isinstance(self.finetune, NoFinetuning) and not isinstance(self.pretrain, PretrainFromData):
            raise ValueError("finetune.mode is 'none', so pretrain.mode must be 'train': nothing else makes the model")
        if isinstance(self.finetune, TrainFromLabels) and not isinstance(self.pretrain, NoPretraining):
            raise ValueError("finetune.mode is 'train', which starts from scratch; pretrain.mode must be 'none'")
        if isinstance(self.finetune, TrainFromLabels) and self.finetune.augment and not is_of_images(self.preprocess):
            raise ValueError("finetune.augment moves images, but preprocess makes none; set it to null")
        return self


def is_of_images(preprocess: Preprocess) -> bool:
    """Whether the rows have a height and a width."""
    return isinstance(preprocess, ArrayData) and len(preprocess.shape) == 2
