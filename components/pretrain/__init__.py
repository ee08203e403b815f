"""pretrain: the model that finetune starts from."""

from components.pretrain.modes import MODES
from components.pretrain.stage import Inputs, Outputs

__all__ = ["MODES", "Inputs", "Outputs"]
