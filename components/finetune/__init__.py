"""finetune: train on the labels."""

from components.finetune.stage import MODES, Inputs, Outputs

__all__ = ["MODES", "Inputs", "Outputs"]
