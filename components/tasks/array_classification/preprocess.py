"""preprocess for arrays that are told apart: see `arrays.py`."""

from components.preprocess.arrays import Report, run

__all__ = ["Report", "run"]
