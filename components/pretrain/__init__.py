"""pretrain: the model that finetune starts from."""

from components.pretrain.stage import MODES, Inputs, Outputs

__all__ = ["MODES", "Inputs", "Outputs"]
