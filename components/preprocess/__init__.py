"""preprocess: the stage that cleans, deduplicates, splits and tokenizes the rows."""

from components.preprocess.stage import Inputs, Outputs, run

__all__ = ["Inputs", "Outputs", "run"]
