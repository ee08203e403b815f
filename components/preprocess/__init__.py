"""preprocess: clean, deduplicate, split, tokenize."""

from components.preprocess.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
