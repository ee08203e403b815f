"""preprocess: clean, deduplicate, split, tokenize."""

from components.preprocess.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
