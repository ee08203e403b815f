"""compress: the stage that makes the model small and fast, within the recipe's limits."""

from components.compress.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
