"""compress: the stage that makes the model small and fast, within the recipe's limits."""

from components.compress.paths import Inputs, Outputs
from components.compress.stage import Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
