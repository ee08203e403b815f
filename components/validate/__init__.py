"""validate: the data gate."""

from components.validate.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
