"""evaluate for language models: bits per byte beside compressors and n-grams, and what the model writes."""

from components.evaluate.text_generation.report import Report, measure

__all__ = ["Report", "measure"]
