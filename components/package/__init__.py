"""The stage that bundles the model and proves the bundle by serving it; and what serves a bundle."""

from components.package.bento import build_bento, serve_command
from components.package.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "build_bento", "run", "serve_command"]
