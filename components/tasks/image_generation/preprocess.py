"""preprocess for images that a model learns to draw: see `arrays.py`."""

from components.preprocess.arrays import Report, run

__all__ = ["Report", "run"]
