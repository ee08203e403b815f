"""The place of a recipe's traffic log, and the environment that tells it to the served process."""

from pathlib import Path

from components.params import Recipe
from serving.log.traffic import FOLDER, INPUT

HASHES = "hash"
"""What the log keeps of inputs where a recipe has no section `service` that says it: their
hashes, which cannot be read."""


def traffic_folder(root: Path, recipe: str) -> Path:
    """Return the folder of a recipe's traffic log and feedback."""
    return root / ".modelyard" / "traffic" / recipe


def traffic_environment(root: Path, name: str, recipe: Recipe) -> dict[str, str]:
    """Return the environment variables with which a recipe's service logs; it keeps hashes unless
    `service.traffic` says text."""
    kept = recipe.service.traffic if recipe.service else HASHES
    return {FOLDER: str(traffic_folder(root, name)), INPUT: kept}
