"""A recipe: one section a stage."""

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from components.params.compress import Compress
from components.params.evaluate import Evaluate
from components.params.finetune import Adapt, Finetune, NoFinetuning, TrainFromLabels
from components.params.ingest import Ingest
from components.params.package import Package
from components.params.preprocess import Preprocess
from components.params.pretrain import NoPretraining, Pretrain, PretrainFromData
from components.params.validate import Validate


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
        if isinstance(self.finetune, Adapt) and isinstance(self.pretrain, NoPretraining):
            raise ValueError("finetune.mode is 'adapt', which adapts a pretrained model, but pretrain.mode is 'none'")
        if isinstance(self.finetune, NoFinetuning) and not isinstance(self.pretrain, PretrainFromData):
            raise ValueError("finetune.mode is 'none', so pretrain.mode must be 'train': nothing else makes the model")
        if isinstance(self.finetune, TrainFromLabels) and not isinstance(self.pretrain, NoPretraining):
            raise ValueError("finetune.mode is 'train', which starts from scratch; pretrain.mode must be 'none'")
        return self
