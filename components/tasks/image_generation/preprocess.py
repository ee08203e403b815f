"""preprocess for images that a model learns to draw, as for all arrays: see components/preprocess/arrays.py."""

from components.preprocess.arrays import Report, run

__all__ = ["Report", "run"]
