"""Where the traffic log of a recipe lies, and what tells the served process so."""

from pathlib import Path

from components.params import Recipe
from serving.log.traffic import FOLDER, INPUT

HASHES = "hash"
"""What is kept of inputs where a recipe has no section `service` that says it: nothing that could be read."""


def traffic_folder(root: Path, recipe: str) -> Path:
    """The folder of a recipe's log and feedback."""
    return root / ".modelyard" / "traffic" / recipe


def traffic_environment(root: Path, name: str, recipe: Recipe) -> dict[str, str]:
    """The variables with which the service of a recipe logs; it keeps hashes unless `service.traffic` says text."""
    kept = recipe.service.traffic if recipe.service else HASHES
    return {FOLDER: str(traffic_folder(root, name)), INPUT: kept}
