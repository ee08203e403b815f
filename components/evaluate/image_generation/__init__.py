"""evaluate for generators of images: how far their samples lie from real images, and whether they are all there."""

from components.evaluate.image_generation.report import Report, measure

__all__ = ["Report", "measure"]
