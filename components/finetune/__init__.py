"""finetune: train on the labels."""

from components.finetune.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
