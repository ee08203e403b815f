"""canary: puts a challenger beside the champion, on real requests, as the recipe's service says.

With `promotion.then: trial`, every challenger that promotion names is tried; this asks for one by hand.
"""

from pathlib import Path

from components.params import Canary, Recipe
from components.plumbing.errors import InputError
from components.promotion.builds import bring
from components.promotion.champions import promotion_lock
from components.promotion.decide import chosen
from components.promotion.published import name_version
from components.recipes import load_recipe
from components.tracking.registry import CHAMPION, Version
from components.tracking.store import open_registry, store_errors


def asked_file(root: Path, recipe: str) -> Path:
    """Return the file that names the version whose trial was asked for by hand; it has the
    form of promotion's files."""
    return root / ".modelyard" / "challengers" / f"{recipe}.asked.json"


def verdict_file(root: Path, recipe: str) -> Path:
    """Return the file in which the router writes how a trial goes and how it ended."""
    return root / ".modelyard" / "canary" / f"{recipe}.json"


def wants_trials(recipe: Recipe) -> bool:
    """Return whether a recipe's challengers are tried on requests."""
    return recipe.service is not None and isinstance(recipe.service.canary, Canary)


def challenge(root: Path, recipe: str, *, number: int | None) -> Version:
    """Have a version tried (the challenger, unless a number is given); the router begins within a second where it runs.

    InputError where the recipe wants no trial, or there is nothing to try.
    """
    if not wants_trials(load_recipe(root, recipe)):
        raise InputError(
            f"recipes.{recipe}.service.canary.mode is not 'shadow' or 'canary', so no challenger is tried on requests; "
            f"change it, or promote by the held-out rows: modelyard promote {recipe}"
        )
    with promotion_lock(root, recipe, doing=f"modelyard canary {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        champion = registry.at(CHAMPION)
        version = chosen(root, registry, number)
        if champion is not None and champion.number == version.number:
            raise InputError(f"version {version.number} of {recipe} is the champion already")
        verdict_file(root, recipe).unlink(missing_ok=True)  # an earlier one on it
        name_version(asked_file(root, recipe), *bring(root, registry, version))
        return version


def withdraw(root: Path, recipe: str) -> bool:
    """End a trial that was asked for, without a verdict; return whether there was one."""
    load_recipe(root, recipe)
    path = asked_file(root, recipe)
    is_there = path.exists()
    path.unlink(missing_ok=True)
    return is_there
