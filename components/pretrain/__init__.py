"""pretrain: the stage that makes the model from which finetune starts."""

from components.pretrain.modes import MODES
from components.pretrain.stage import Inputs, Outputs

__all__ = ["MODES", "Inputs", "Outputs"]
