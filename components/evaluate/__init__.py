"""evaluate: the stage that judges the model by metrics with intervals, an honest baseline and the quality gate."""

from components.evaluate.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
