"""promote and rollback: what may change a recipe's champion, each under the recipe's promotion lock."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.errors import ArtifactError, InputError
from components.params import Recipe
from components.promotion.champions import (
    Champion,
    bundle_of,
    enthrone,
    entry_of,
    promotion_lock,
    publish,
    publish_challenger,
    published,
    reign,
    settle,
    was_judged,
)
from components.promotion.ledger import Entry, append
from components.recipes import load_recipe
from components.registry import CHALLENGER, Registry, Version
from components.store import open_registry, store_errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """What became of a promotion or a rollback."""

    recipe: str
    state: Literal["promoted", "rolled back", "unchanged", "on trial"]
    version: int
    """The champion now."""
    before: int | None
    """The champion until now."""
    tag: str
    why: str
    figures: dict[str, Any]
    """Of the gate; empty where none was asked."""


def promote(root: Path, recipe: str, *, number: int | None, force: str | None, through: str) -> Decision:
    """Make a version the champion (the challenger, unless a number is given) where the gate lets it pass.

    `force` is the reason for not asking the gate. PromotionError where it fails: the champion stays as it was, and the
    refusal is written into the ledger.
    """
    settings = load_recipe(root, recipe)
    if force is not None and not force.strip():
        raise InputError("--force needs a reason, which the ledger keeps: modelyard promote RECIPE --force 'why'")
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        challenger = registry.version(number) if number is not None else registry.at(CHALLENGER)
        if challenger is None:
            raise InputError(no_challenger(recipe, champion))
        if champion is not None and champion.number == challenger.number:
            return unchanged(champion, "it is the champion already")
        if champion is None or force is not None:
            return crown(root, registry, champion, challenger, through=through, figures={}, force=force)
        figures = passed(root, settings, registry, champion, challenger, through=through)
        return crown(root, registry, champion, challenger, through=through, figures=figures, force=None)


def promote_made(root: Path, recipe: str, *, digest: str, through: str) -> Decision:
    """For the loop: judge the version that the pipeline has just made, once; what was judged before stays decided."""
    settings = load_recipe(root, recipe)
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        made = next((version for version in registry.versions() if version.digest == digest), None)
        if made is None or champion is None:
            raise InputError(
                f"the bundle of {recipe} ({digest[:12]}) is not in the model registry; run 'modelyard run {recipe} "
                "--force package', which registers it"
            )
        if made.number == champion.number:
            return unchanged(champion, "the pipeline made the champion's own bundle")
        if judged := was_judged(root, recipe, made):
            return unchanged(
                champion,
                f"version {made.number} was decided on before ({judged['action']}, {judged['at'][:10]}); 'modelyard "
                f"promote {recipe} --version {made.number}' judges it again",
            )
        figures = passed(root, settings, registry, champion, made, through=through)
        if settings.promotion is not None and settings.promotion.then == "trial":
            why = f"version {made.number} passed the gate; the service tries it and promotes it"
            return Decision(recipe, "on trial", champion.number, champion.number, champion.tag, why, figures)
        return crown(root, registry, champion, made, through=through, figures=figures, force=None)


def rollback(root: Path, recipe: str, *, number: int | None, through: str, reason: str = "") -> Decision:
    """Make an earlier version the champion again, without asking the gate; by default the champion before this one."""
    load_recipe(root, recipe)
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        if champion is None:
            raise InputError(f"{recipe} has no champion yet; 'modelyard run {recipe}' makes the first")
        earlier = reign(root, recipe)[:-1]
        if number is None and not earlier:
            raise InputError(
                f"{recipe} has no champion before version {champion.number}; name one of its versions with --to"
            )
        version = registry.version(earlier[-1] if number is None else number)
        if version.number == champion.number:
            raise InputError(f"version {version.number} of {recipe} is the champion already")
        entry = entry_of(
            "rollback", recipe, before=champion, after=version, through=through, figures={},
            reason=reason or "asked for",
        )  # fmt: skip
        enthrone(root, registry, version, entry)
        return Decision(recipe, "rolled back", version.number, champion.number, version.tag, entry["reason"], {})


def champion_of(root: Path, recipe: str) -> Champion | None:
    """The champion with its bundle on this machine, after finishing what a killed promotion left; None without one."""
    with promotion_lock(root, recipe, doing=f"looking for the champion of {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        if champion is None:
            return None
        publish(root, registry, champion)  # where settle could only warn, this says why
        return published(root, recipe)


def passed(
    root: Path, settings: Recipe, registry: Registry, champion: Version, challenger: Version, *, through: str
) -> dict[str, Any]:
    """The gate's figures; PromotionError, and a line in the ledger, where it fails."""
    from components.promotion.gate import Contender, judge, refusal  # torch, for seconds: a rollback needs none

    try:
        beside = Contender(champion, bundle_of(root, registry, champion))
    except ArtifactError as error:
        raise ArtifactError(f"{error}. Nothing can be compared with it: promote with --force REASON") from error
    verdict = judge(root, settings, beside, Contender(challenger, bundle_of(root, registry, challenger)))
    if verdict.passed:
        return verdict.figures
    reason = " and ".join(verdict.faults)
    refused = entry_of(
        "refuse", registry.recipe, before=champion, after=challenger, through=through, figures=verdict.figures,
        reason=reason,
    )  # fmt: skip
    append(root, refused)
    publish_challenger(root, registry)
    raise refusal(registry.recipe, challenger, champion, verdict)


def crown(
    root: Path, registry: Registry, champion: Version | None, version: Version, *, through: str,
    figures: dict[str, Any], force: str | None,
) -> Decision:  # fmt: skip
    """Make a version the champion, and say so."""
    reason = force or ("not worse, not slower, not larger" if figures else "there was no champion")
    entry: Entry = entry_of(
        "force" if force else "promote", registry.recipe, before=champion, after=version, through=through,
        figures=figures, reason=reason,
    )  # fmt: skip
    enthrone(root, registry, version, entry)
    before = champion.number if champion else None
    logger.info("%s: version %d is the champion (%s)", registry.recipe, version.number, reason)
    return Decision(registry.recipe, "promoted", version.number, before, version.tag, reason, figures)


def unchanged(champion: Version, why: str) -> Decision:
    return Decision(champion.recipe, "unchanged", champion.number, champion.number, champion.tag, why, {})


def no_challenger(recipe: str, champion: Version | None) -> str:
    """Why there is nothing to promote."""
    if champion is None:
        return f"{recipe} has no version in the model registry; 'modelyard run {recipe}' makes the first"
    return (
        f"{recipe} has no challenger: version {champion.number} is the champion, and nothing newer was made; "
        f"'modelyard retrain {recipe}' makes one, or name a version with --version"
    )
