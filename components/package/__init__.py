"""package: the stage that bundles the model and proves the bundle by serving it; also the serving of bundles."""

from components.package.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
