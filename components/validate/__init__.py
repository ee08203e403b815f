"""validate: the stage that judges the rows against the recipe's data contract."""

from components.validate.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
