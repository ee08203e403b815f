"""The stage that judges the model: metrics with intervals, an honest baseline, the quality gate."""

from components.evaluate.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
