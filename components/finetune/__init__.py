"""finetune: the stage that trains on the labels."""

from components.finetune.modes import MODES
from components.finetune.stage import Inputs, Outputs

__all__ = ["MODES", "Inputs", "Outputs"]
