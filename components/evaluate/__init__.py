"""The stage that judges the model: metrics with intervals, an honest baseline, the quality gate."""

from components.evaluate.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
