"""The files of the explanations among evaluate's outputs."""

import logging

from components.evaluate.explanations.patches import draw_occlusion
from components.evaluate.explanations.plot import draw_curves
from components.evaluate.explanations.tables import EXPLANATIONS, Found
from components.evaluate.stage import Outputs
from components.plumbing.artifacts import write_json
from components.plumbing.plots import save, style

logger = logging.getLogger(__name__)


def write_explanations(found: Found, outputs: Outputs) -> None:
    """Write explanations.json and explanations.png, for images occlusion.png as well, and whether each method beats
    its controls into the log."""
    write_json(outputs.results / EXPLANATIONS, found)
    with style():
        save(draw_curves(found), outputs.plots / "explanations.png")
        if found["images"]:
            save(draw_occlusion(found), outputs.plots / "occlusion.png")
    for line in found["verdict"]:
        logger.info("%s", line)
