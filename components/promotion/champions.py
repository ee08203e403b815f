"""The champion of a recipe: the alias in the registry, the ledger, and the file that the running service
watches, kept in agreement.

A change of champion is three writes: the alias `champion` (a transaction of the registry's), a line of the ledger, and
`.modelyard/champions/<recipe>.json`, which names the bundle that is served. Before the first, what is meant is written
down as an intent; whoever holds the recipe's promotion lock next finishes what a killed process left: where the alias
was moved, the line and the file follow; where it was not, nothing has happened, and the intent is dropped.

A version is known by its model's digest: its number means another model once the registry is made anew. builds.py
decides in which build of the service it is served.
"""

import getpass
import logging
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import REPORT, Layout, read_json, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.locks import hold
from components.promotion.builds import bring, build_of, in_present_build, packaged_build
from components.promotion.ledger import CHANGES, SERVED, Action, Entry, append, entries
from components.promotion.published import challenger_file, champion_file, name_version
from components.tracking.registry import CHALLENGER, CHAMPION, CHAMPIONS, Registry, Version, note_weights
from components.tracking.store import masked, tracking_uri
from serving.bundle import BundleId

logger = logging.getLogger(__name__)

KEPT_BUNDLES = 3
"""The number of bundles of former champions that stay on this machine, so that a rollback copies nothing."""


def promotion_lock(root: Path, recipe: str, *, doing: str) -> AbstractContextManager[None]:
    """Return the lock that is held while a recipe's champion is judged or changed: two promotions at once
    come one after the other."""
    return hold(root, f"{recipe}.promotion", doing=doing, wait=True)


def intent_file(root: Path, recipe: str) -> Path:
    return root / CHAMPIONS / f"{recipe}.intent.json"


def settle(root: Path, registry: Registry, *, through: str = "package", is_strict: bool = False) -> Version | None:
    """Finish or drop what a killed promotion left, and write down a champion that was made elsewhere, or is packaged in
    another build, which then came `through` something; return the champion as it is served, None without one.

    The promotion lock must be held. Where its bundle cannot be had that is a warning, since another version can still
    take its place; if `is_strict`, ArtifactError.
    """
    recipe, champion = registry.recipe, registry.at(CHAMPION)
    intent = intent_file(root, recipe)
    if intent.is_file():
        meant: Entry = read_json(intent)
        if champion is not None and is_named(meant["to"], champion):
            logger.warning("%s: finishing the promotion of version %d, which was cut off", recipe, champion.number)
            registry.crown(champion)
            record(root, meant)
        else:
            logger.warning(
                "%s: a promotion of version %d was cut off before it took effect", recipe, meant["to"]["version"]
            )
        intent.unlink()
    if champion is None:
        return None
    known = changes(root, recipe)
    before = known[-1]["to"] if known else None
    if before is None or not is_named(before, champion) or before["version"] != champion.number:
        record(
            root,
            entry_of(
                "adopt", recipe, before=before, after=champion, through="registry", figures={},
                reason=adopted(registry, before, champion),
            ),
        )  # fmt: skip
    try:
        present, bundle = bring(root, registry, champion)
        if note_build(root, present, through=through):
            registry.note_build(present, bundle)
        publish(root, registry, present, bundle)
        publish_challenger(root, registry)
    except ArtifactError as error:
        if is_strict:
            raise
        logger.warning("%s", error)
        return champion
    return present


def adopted(registry: Registry, before: Mapping[str, Any] | None, champion: Version) -> str:
    """Return why a champion is one that the ledger does not name."""
    if before is None:
        return "registered as the first version"
    if any(is_named(before, version) and version.number == before["version"] for version in registry.versions()):
        return "the alias was set in the registry"
    if is_named(before, champion):
        return f"the registry has the bundle of version {before['version']} as version {champion.number} now"
    return f"the registry no longer has {called(before)}"


def enthrone(root: Path, registry: Registry, version: Version, entry: Entry) -> Version:
    """Make a version the champion; return it in the build in which it is served, which the entry then names.

    The promotion lock must be held. The bundle is brought here and checked before anything is changed.
    """
    present, bundle = bring(root, registry, version)
    intent = intent_file(root, registry.recipe)
    entry = {**entry, "to": named(present)}
    write_json(intent, entry)
    registry.crown(version)
    record(root, entry)
    publish(root, registry, present, bundle)
    intent.unlink()
    publish_challenger(root, registry)
    return present


def record(root: Path, entry: Entry) -> Entry:
    """Write a line of the ledger unless it is there already (whoever finishes another's work may find
    it there); return the line."""
    there = [one for one in entries(root, entry["recipe"]) if one.get("id") == entry["id"]]
    return there[0] if there else append(root, entry)


def note_build(root: Path, champion: Version, *, through: str) -> bool:
    """Write into the ledger that the champion is served in this build of its service, where it was another before;
    return whether it was."""
    recipe = champion.recipe
    before = changes(root, recipe, SERVED)[-1]["to"]
    if build_of(before) == champion.build:
        return False
    packaged = packaged_build(root, champion)
    proof = packaged[1] if packaged is not None and packaged[0] == champion.build else {}
    reason = (
        f"the same model gave the same {proof['num_golden']} golden answers, through the service as it is now"
        if proof else "the build before is not on this machine any more, or not whole; the registry has this one"
    )  # fmt: skip
    record(
        root,
        entry_of("build", recipe, before=before, after=champion, through=through, figures=proof, reason=reason),
    )
    logger.info("%s: version %d is served in another build (%s)", recipe, champion.number, champion.tag)
    return True


def publish(root: Path, registry: Registry, version: Version, bundle: Path) -> None:
    """Write the champion's bundle to the file that the service watches, and its weights to the one that DVC watches."""
    note_weights(root, registry)
    name_version(champion_file(root, registry.recipe), version, bundle)
    challenger = registry.at(CHALLENGER)
    kept = {version.label}
    if (best := better_one(root, registry.recipe)) is not None:
        kept.add(BundleId(best["digest"], build_of(best)).label)
    if challenger is not None:
        kept.add(in_present_build(root, challenger).label)
    forget_old(root, registry.recipe, keep=kept)


def publish_challenger(root: Path, registry: Registry) -> None:
    """Write the challenger's bundle to the file of the version that the service may try; remove the file where there is
    no challenger, or it was decided on before."""
    path, challenger = challenger_file(root, registry.recipe), registry.at(CHALLENGER)
    if challenger is None or was_judged(root, registry.recipe, challenger):
        path.unlink(missing_ok=True)
    else:
        name_version(path, *bring(root, registry, challenger))


def forget_old(root: Path, recipe: str, *, keep: set[str]) -> None:
    """Remove from this machine the bundles that have not been champion for longest; the registry still has them."""
    folder = root / CHAMPIONS / recipe
    recent: dict[str, str] = {}  # of each model the build that was served last
    for entry in reversed(changes(root, recipe, SERVED)):
        end = entry["to"]
        recent.setdefault(end["digest"], BundleId(end["digest"], build_of(end)).label)
    kept = keep | set(list(recent.values())[:KEPT_BUNDLES])
    for one in folder.iterdir():
        if one.name not in kept and not one.name.startswith("."):
            shutil.rmtree(one, ignore_errors=True)


def entry_of(
    action: Action, recipe: str, *, before: Mapping[str, Any] | Version | None, after: Version, through: str,
    figures: Mapping[str, Any], reason: str,
) -> Entry:  # fmt: skip
    """Return the ledger's line on one decision, without its place in the chain."""
    return {
        "id": uuid.uuid4().hex,
        "recipe": recipe,
        "action": action,
        "by": user_name(),
        "through": through,
        "from": named(before),
        "to": named(after),
        "figures": dict(figures),
        "reason": reason,
    }


def named(version: Mapping[str, Any] | Version | None) -> dict[str, Any] | None:
    """Return a version as the ledger names it, by its number and both digests; None for None."""
    if isinstance(version, Version):
        return {"version": version.number, "digest": version.digest, "build": version.build}
    return None if version is None else dict(version)


def is_named(end: Mapping[str, Any] | None, version: Version) -> bool:
    """Return whether the version that the ledger names is this one, by its model's digest."""
    return end is not None and end["digest"] == version.digest


def user_name() -> str:
    """Return the name of the user who runs this process, or `unknown`."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def changes(root: Path, recipe: str, actions: Sequence[str] = CHANGES) -> list[Entry]:
    """Return the lines of the ledger with one of these actions, the oldest first: by default those after which another
    version was champion."""
    return [entry for entry in entries(root, recipe) if entry.get("action") in actions]


def reign(root: Path, recipe: str) -> list[dict[str, Any]]:
    """Return the champions that lead to the present one, which is last; those that were rolled back are left out."""
    line: list[dict[str, Any]] = []
    for entry in changes(root, recipe):
        digests = [end["digest"] for end in line]
        if entry["to"]["digest"] in digests:
            line = line[: digests.index(entry["to"]["digest"])]
        line.append(entry["to"])
    return line


def better_one(root: Path, recipe: str) -> dict[str, Any] | None:
    """Return the former champion that was better than the present one when this took its place, within what the gate
    lets pass; None where none was."""
    last = (changes(root, recipe) or [{}])[-1]
    best: dict[str, Any] | None = last.get("best")
    return best if best is not None and best["digest"] != last["to"]["digest"] else None


def was_judged(root: Path, recipe: str, version: Version) -> Entry | None:
    """Return the newest line in which a version was refused, promoted or rolled back; None where there is none."""
    for entry in reversed(entries(root, recipe)):
        is_judgement = entry.get("action") != "build"
        if is_judgement and (is_named(entry.get("from"), version) or is_named(entry.get("to"), version)):
            return entry
    return None


def lost_champion(root: Path, recipe: str, registry: Registry | None) -> str | None:
    """Return that the registry (None: there is none yet) lacks the champion that the ledger names, in
    words; None where it has it."""
    known, versions = changes(root, recipe), registry.versions() if registry else []
    if not known or any(is_named(known[-1]["to"], version) for version in versions):
        return None
    return f"the ledger names {called(known[-1]['to'])} of {recipe} the champion, and the model registry lacks it"


def called(end: Mapping[str, Any]) -> str:
    """Return a version that the ledger names, in words for messages."""
    return f"version {end['version']} ({end['digest'][:12]})"


def bring_back(root: Path) -> str:
    """Return what mends a registry that lacks what it had, in words."""
    return f"bring {masked(tracking_uri(root))} back from a copy"


def register_one(root: Path, recipe: str) -> str:
    """Return how a registry gets a version, in words; a run that finds the bundle packaged registers
    it only where it is forced."""
    report = Layout(root, recipe, "package").artifact / REPORT
    known = changes(root, recipe)
    if not report.is_file():  # a run may find the bundle in DVC's cache
        return f"'modelyard run {recipe}{' --force package' if known else ''}' makes one"
    packaged = read_json(report)["digest"]
    how = "" if not known else " again" if known[-1]["to"]["digest"] == packaged else " in its place"
    unless = ", unless what it is made from has changed since"
    return f"'modelyard run {recipe} --force package' registers the packaged bundle ({packaged[:12]}){how}{unless}"
