"""pretrain: the model that finetune starts from."""

from components.pretrain.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
