"""promote and rollback: the decisions that change a recipe's champion, each made under the recipe's promotion lock."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.params import Recipe
from components.plumbing.artifacts import Layout
from components.plumbing.errors import ArtifactError, InputError
from components.promotion.best import bring_former
from components.promotion.builds import bring, packaged_build
from components.promotion.champions import (
    bring_back,
    called,
    changes,
    enthrone,
    entry_of,
    is_named,
    lost_champion,
    named,
    promotion_lock,
    publish_challenger,
    register_one,
    reign,
    settle,
    was_judged,
)
from components.promotion.ledger import SERVED, Entry, append, damage, verify
from components.promotion.published import Champion, published
from components.recipes import load_recipe
from components.tracking.registry import CHALLENGER, CHAMPION, Registry, Version
from components.tracking.store import open_registry, store_errors
from serving.bundle import BundleError, identify

if TYPE_CHECKING:
    from components.promotion.gate import Verdict

logger = logging.getLogger(__name__)


State = Literal["promoted", "rolled back", "rebuilt", "unchanged", "on trial"]
"""The kind of a result. rebuilt: the same champion is served in another build of its service."""


@dataclass(frozen=True)
class Decision:
    """The result of a promotion or a rollback."""

    recipe: str
    state: State
    version: int
    """The number of the present champion."""
    before: int | None
    """The number of the champion before the decision; None where there was none."""
    tag: str
    why: str
    figures: dict[str, Any]
    """The figures of the gate; empty where it was not asked."""
    run_id: str
    """The id of the MLflow run that made the present champion."""


def promote(root: Path, recipe: str, *, number: int | None, force: str | None, through: str) -> Decision:
    """Make a version the champion (the challenger, unless a number is given) where the gate lets it pass.

    `force` is the reason for not asking the gate. PromotionError where it fails: the champion stays as it was, and the
    refusal is written into the ledger.
    """
    settings = load_recipe(root, recipe)
    if force is not None and not force.strip():
        raise InputError("--force needs a reason, which the ledger keeps: modelyard promote RECIPE --force 'why'")
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        require_whole_ledger(root)
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        challenger = chosen(root, registry, number)
        if champion is not None and champion.number == challenger.number:
            return unchanged(champion, "it is the champion already")
        if champion is None or force is not None:
            return crown(root, registry, champion, challenger, through=through, verdict=None, force=force)
        verdict = passed(root, settings, registry, champion, challenger, through=through)
        return crown(root, registry, champion, challenger, through=through, verdict=verdict, force=None)


def promote_made(root: Path, recipe: str, *, digest: str, through: str) -> Decision:
    """Judge the version that the pipeline has just made, once, for `retrain`; what was judged before stays decided."""
    settings = load_recipe(root, recipe)
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        require_whole_ledger(root)
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        made = next((version for version in registry.versions() if version.digest == digest), None)
        if made is None or champion is None:
            raise InputError(
                f"the bundle of {recipe} ({digest[:12]}) is not in the model registry; run 'modelyard run {recipe} "
                "--force package', which registers it"
            )
        if made.number == champion.number:
            return unchanged(champion, "the pipeline made the champion's own model")
        if judged := was_judged(root, recipe, made):
            return unchanged(champion, decided(made, judged))
        verdict = passed(root, settings, registry, champion, made, through=through)
        if settings.promotion is not None and settings.promotion.then == "trial":
            why = f"version {made.number} passed the gate; the service tries it and promotes it"
            return Decision(
                recipe,
                "on trial",
                champion.number,
                champion.number,
                champion.tag,
                why,
                verdict.figures,
                champion.run_id,
            )
        return crown(root, registry, champion, made, through=through, verdict=verdict, force=None)


def take_build(root: Path, recipe: str, *, through: str) -> Decision:
    """Have the champion served in the build that is packaged here, or the challenger tried in it, whichever has this
    model; no gate is asked.

    InputError where the packaged bundle is of neither, or not whole.
    """
    load_recipe(root, recipe)
    with promotion_lock(root, recipe, doing=f"modelyard promote {recipe} --build"), store_errors(root):
        require_whole_ledger(root)
        registry, before = open_registry(root, recipe), published(root, recipe)
        champion = settle(root, registry, through=through, is_strict=True)
        if champion is None:
            raise InputError(no_version(root, registry))
        challenger = registry.at(CHALLENGER)
        if packaged_build(root, champion) is None:
            if challenger is None or packaged_build(root, challenger) is None:
                raise InputError(no_build(root, champion))
            number = challenger.number
            why = f"what is packaged is version {number}, the challenger; 'modelyard promote {recipe}' judges it"
            return unchanged(champion, why)
        if before is not None and before.build == champion.build:
            return unchanged(champion, "it is served in the packaged build already")
        why = changes(root, recipe, SERVED)[-1]["reason"]
        return Decision(recipe, "rebuilt", champion.number, champion.number, champion.tag, why, {}, champion.run_id)


def require_whole_ledger(root: Path) -> None:
    """Raise ArtifactError where the ledger is not as it was written: who was champion is its word."""
    if error := damage(verify(root)):
        raise error


def no_build(root: Path, champion: Version) -> str:
    """Return why no build of the champion is packaged, and how to get one, in words."""
    artifact = Layout(root, champion.recipe, "package").artifact
    begins = f"no build of version {champion.number} of {champion.recipe} is packaged here"
    with suppress(BundleError):
        is_same = identify(artifact / "bundle").version == champion.digest
        what = "is damaged, or is being written" if is_same else "is of another model"
        return f"{begins}: {artifact} {what}; 'modelyard run {champion.recipe}' packages what the recipe makes now"
    return f"{begins}: {artifact} holds no bundle; 'modelyard run {champion.recipe}' makes one"


def rollback(root: Path, recipe: str, *, number: int | None, through: str, reason: str = "") -> Decision:
    """Make an earlier version the champion again, without asking the gate; by default the champion before this one."""
    load_recipe(root, recipe)
    with promotion_lock(root, recipe, doing=f"{through} {recipe}"), store_errors(root):
        if number is None:  # which version came before is the ledger's word
            require_whole_ledger(root)
        elif error := damage(verify(root)):
            logger.warning("%s", error)
        registry = open_registry(root, recipe)
        champion = settle(root, registry)
        if champion is None:
            raise InputError(no_version(root, registry))
        earlier = reign(root, recipe)[:-1]
        if number is None and not earlier:
            raise InputError(
                f"{recipe} has no champion before version {champion.number}; name one of its versions with --to"
            )
        version = registry.version(number) if number is not None else found_again(root, registry, earlier[-1])
        if version.number == champion.number:
            raise InputError(f"version {version.number} of {recipe} is the champion already")
        entry = entry_of(
            "rollback", recipe, before=champion, after=version, through=through, figures={},
            reason=reason or "asked for",
        )  # fmt: skip
        served = enthrone(root, registry, version, entry)
        return Decision(
            recipe, "rolled back", served.number, champion.number, served.tag, entry["reason"], {}, served.run_id
        )


def champion_of(root: Path, recipe: str) -> Champion | None:
    """Return the champion with its bundle on this machine, after finishing what a killed
    promotion left; None without one."""
    with promotion_lock(root, recipe, doing=f"looking for the champion of {recipe}"), store_errors(root):
        registry = open_registry(root, recipe)
        return published(root, recipe) if settle(root, registry, is_strict=True) is not None else None


def passed(
    root: Path, settings: Recipe, registry: Registry, champion: Version, challenger: Version, *, through: str
) -> "Verdict":
    """Return the gate's verdict; where it fails, write a line in the ledger and raise PromotionError."""
    from components.promotion.gate import Contender, judge, refusal  # torch, for seconds: a rollback needs none

    try:
        beside = Contender(*bring(root, registry, champion))
    except ArtifactError as error:
        raise ArtifactError(f"{error}. Nothing can be compared with it: promote with --force REASON") from error
    former, lost = bring_former(root, registry, champion)
    verdict = judge(
        root,
        settings,
        beside,
        Contender(*bring(root, registry, challenger)),
        former=[Contender(*one) for one in former],
    )
    if lost:
        verdict.figures["not_compared"] = ", ".join(lost)
    if verdict.passed:
        return verdict
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
    verdict: "Verdict | None", force: str | None,
) -> Decision:  # fmt: skip
    """Make a version the champion, and log it."""
    figures = verdict.figures if verdict is not None else {}
    reason = force or ("not worse, not slower, not larger" if figures else "there was no champion")
    if verdict is not None and verdict.best.number != version.number:
        reason += f"; the best so far is version {verdict.best.number}, which the next one is judged beside as well"
    entry: Entry = entry_of(
        "force" if force else "promote", registry.recipe, before=champion, after=version, through=through,
        figures=figures, reason=reason,
    )  # fmt: skip
    if verdict is not None:
        entry["best"] = named(verdict.best)
    served = enthrone(root, registry, version, entry)
    before = champion.number if champion else None
    logger.info("%s: version %d is the champion (%s)", registry.recipe, served.number, reason)
    return Decision(registry.recipe, "promoted", served.number, before, served.tag, reason, figures, served.run_id)


def unchanged(champion: Version, why: str) -> Decision:
    return Decision(
        champion.recipe, "unchanged", champion.number, champion.number, champion.tag, why, {}, champion.run_id
    )


def chosen(root: Path, registry: Registry, number: int | None) -> Version:
    """Return the version of a number, or the challenger; InputError says why there is none, and how to get one."""
    if not registry.versions():
        raise InputError(no_version(root, registry))
    version = registry.version(number) if number is not None else registry.at(CHALLENGER)
    if version is None:
        raise InputError(no_challenger(root, registry))
    return version


def no_version(root: Path, registry: Registry) -> str:
    """Return why there is no champion, and how to get one, in words."""
    recipe = registry.recipe
    if lost := lost_champion(root, recipe, registry):
        return f"{lost}; {bring_back(root)}, or {register_one(root, recipe)}"
    if registry.versions():
        return f"no version of {recipe} is the champion; name one: modelyard promote {recipe} --version N"
    return f"{recipe} has no version in the model registry; {register_one(root, recipe)}"


def no_challenger(root: Path, registry: Registry) -> str:
    """Return why there is nothing to promote, in words."""
    recipe, champion, newest = registry.recipe, registry.at(CHAMPION), registry.versions()[0]
    if champion is None:
        return no_version(root, registry)
    begins = f"{recipe} has no challenger: version {champion.number} is the champion, and"
    if newest.number > champion.number and (judged := was_judged(root, recipe, newest)):
        return f"{begins} {decided(newest, judged)}"
    return f"{begins} nothing newer was made; 'modelyard retrain {recipe}' makes one, or name a version with --version"


def decided(version: Version, judged: Entry) -> str:
    """Return what was decided on a version before, and how to decide anew, in words."""
    is_back = judged["action"] == "rollback" and is_named(judged["from"], version)
    what = "rolled back" if is_back else f"decided on before ({judged['action']}, {judged['at'][:10]})"
    again = f"'modelyard promote {version.recipe} --version {version.number}'"
    return f"version {version.number} was {what}; {again} judges it again, and promotes it if it is not worse"


def found_again(root: Path, registry: Registry, end: dict[str, Any]) -> Version:
    """Return the version that the ledger names, whatever its number is now; InputError where the
    registry no longer has it."""
    for version in registry.versions():
        if is_named(end, version):
            return version
    raise InputError(
        f"the champion of {registry.recipe} before this one, {called(end)}, is no longer in the model registry; "
        f"{bring_back(root)}, or name one of its versions with --to"
    )
