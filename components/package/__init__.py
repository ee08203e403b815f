"""The stage that bundles the model and proves the bundle by serving it; and what serves a bundle."""

from components.package.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
