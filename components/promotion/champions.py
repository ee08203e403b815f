"""Who is champion: the alias in the registry, the ledger, and what the running service watches, always of one mind.

A change of champion is three writes: the alias `champion` (a transaction of the registry's), a line of the ledger, and
`.modelyard/champions/<recipe>.json`, which names the bundle that is served. Before the first, what is meant is written
down as an intent; whoever holds the recipe's promotion lock next finishes what a killed process left: where the alias
was moved, the line and the file follow; where it was not, nothing has happened, and the intent is dropped.

A version is known by its bundle's digest: its number means another bundle once the registry is made anew.
"""

import getpass
import logging
import shutil
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import REPORT, Layout, disk_errors, read_json, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.locks import hold
from components.promotion.ledger import CHANGES, Action, Entry, append, entries
from components.tracking.registry import CHALLENGER, CHAMPION, CHAMPIONS, Registry, Version, note_weights
from components.tracking.store import masked, tracking_uri

logger = logging.getLogger(__name__)

CHALLENGERS = ".modelyard/challengers"
KEPT_BUNDLES = 3
"""Bundles of former champions that stay on this machine, so that a rollback copies nothing."""


@dataclass(frozen=True)
class Champion:
    """`.modelyard/champions/<recipe>.json`: what is to be served. `.modelyard/challengers/<recipe>.json` names in the
    same way what may be tried beside it."""

    version: int
    digest: str
    tag: str
    bundle: str
    """The bundle's folder, with the manifest that has this digest."""


def promotion_lock(root: Path, recipe: str, *, doing: str) -> AbstractContextManager[None]:
    """Held while a recipe's champion is judged or changed: two promotions at once come one after the other."""
    return hold(root, f"{recipe}.promotion", doing=doing, wait=True)


def champion_file(root: Path, recipe: str) -> Path:
    return root / CHAMPIONS / f"{recipe}.json"


def challenger_file(root: Path, recipe: str) -> Path:
    return root / CHALLENGERS / f"{recipe}.json"


def intent_file(root: Path, recipe: str) -> Path:
    return root / CHAMPIONS / f"{recipe}.intent.json"


def published(root: Path, recipe: str) -> Champion | None:
    """What the file says; None where no champion was ever published here."""
    path = champion_file(root, recipe)
    return Champion(**read_json(path)) if path.is_file() else None


def bundle_of(root: Path, registry: Registry, version: Version) -> Path:
    """A version's bundle on this machine, checked against its digest."""
    folder = root / CHAMPIONS / version.recipe / version.digest[:12]
    with disk_errors(folder):
        registry.bring(version, folder)
    return folder


def settle(root: Path, registry: Registry) -> Version | None:
    """Finish or drop what a killed promotion left, and write down a champion that was made elsewhere; gives it.

    To be called while the promotion lock is held.
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
    if before is None or before != named(champion):
        record(
            root,
            entry_of(
                "adopt", recipe, before=before, after=champion, through="registry", figures={},
                reason=adopted(registry, before, champion),
            ),
        )  # fmt: skip
    try:
        publish(root, registry, champion)
        publish_challenger(root, registry)
    except ArtifactError as error:  # another version can still take its place
        logger.warning("%s", error)
    return champion


def adopted(registry: Registry, before: Mapping[str, Any] | None, champion: Version) -> str:
    """Why a champion is one that the ledger does not name."""
    if before is None:
        return "registered as the first version"
    if any(is_named(before, version) and version.number == before["version"] for version in registry.versions()):
        return "the alias was set in the registry"
    if is_named(before, champion):
        return f"the registry has the bundle of version {before['version']} as version {champion.number} now"
    return f"the registry no longer has {called(before)}"


def enthrone(root: Path, registry: Registry, version: Version, entry: Entry) -> Entry:
    """Make a version the champion; gives the line of the ledger. To be called while the promotion lock is held.

    The bundle is here and checked before anything is changed.
    """
    bundle_of(root, registry, version)
    intent = intent_file(root, registry.recipe)
    write_json(intent, entry)
    registry.crown(version)
    written = record(root, entry)
    publish(root, registry, version)
    intent.unlink()
    publish_challenger(root, registry)
    return written


def record(root: Path, entry: Entry) -> Entry:
    """A line of the ledger, written once: whoever finishes another's work may find it there."""
    there = [one for one in entries(root, entry["recipe"]) if one.get("id") == entry["id"]]
    return there[0] if there else append(root, entry)


def publish(root: Path, registry: Registry, version: Version) -> None:
    """Name the champion's bundle in the file that the service watches, and its weights in the one that DVC watches."""
    note_weights(root, registry)
    name_version(champion_file(root, registry.recipe), version, bundle_of(root, registry, version))
    challenger = registry.at(CHALLENGER)
    kept = [one.digest[:12] for one in (version, challenger) if one is not None]
    forget_old(root, registry.recipe, keep=set(kept))


def publish_challenger(root: Path, registry: Registry) -> None:
    """Likewise the challenger's, which the service may try; none where it was decided on before."""
    path, challenger = challenger_file(root, registry.recipe), registry.at(CHALLENGER)
    if challenger is None or was_judged(root, registry.recipe, challenger):
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        name_version(path, challenger, bundle_of(root, registry, challenger))


def name_version(path: Path, version: Version, bundle: Path) -> None:
    """Write which version it is and where its bundle lies, where the file says another."""
    said = asdict(Champion(version.number, version.digest, version.tag, str(bundle)))
    if not path.is_file() or read_json(path) != said:
        write_json(path, said)


def forget_old(root: Path, recipe: str, *, keep: set[str]) -> None:
    """Remove the bundles that have not been champion for longest; the registry still has them."""
    folder = root / CHAMPIONS / recipe
    recent = [entry["to"]["digest"][:12] for entry in reversed(changes(root, recipe))]
    kept = keep | set(list(dict.fromkeys(recent))[:KEPT_BUNDLES])
    for one in folder.iterdir():
        if one.name not in kept and not one.name.startswith("."):
            shutil.rmtree(one, ignore_errors=True)


def entry_of(
    action: Action, recipe: str, *, before: Mapping[str, Any] | Version | None, after: Version, through: str,
    figures: Mapping[str, Any], reason: str,
) -> Entry:  # fmt: skip
    """What the ledger says of one decision, but for its place in the chain."""
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
    """A version as the ledger names it."""
    if isinstance(version, Version):
        return {"version": version.number, "digest": version.digest}
    return None if version is None else dict(version)


def is_named(end: Mapping[str, Any] | None, version: Version) -> bool:
    """Whether what the ledger names is this bundle."""
    return end is not None and end["digest"] == version.digest


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def changes(root: Path, recipe: str) -> list[Entry]:
    """The lines after each of which another version was champion, the oldest first."""
    return [entry for entry in entries(root, recipe) if entry.get("action") in CHANGES]


def reign(root: Path, recipe: str) -> list[dict[str, Any]]:
    """The champions that lead to the present one, which is last: what was rolled back is left out."""
    line: list[dict[str, Any]] = []
    for entry in changes(root, recipe):
        digests = [end["digest"] for end in line]
        if entry["to"]["digest"] in digests:
            line = line[: digests.index(entry["to"]["digest"])]
        line.append(entry["to"])
    return line


def was_judged(root: Path, recipe: str, version: Version) -> Entry | None:
    """The newest line in which a version was refused, promoted or rolled back; None where it is new."""
    for entry in reversed(entries(root, recipe)):
        if is_named(entry.get("from"), version) or is_named(entry.get("to"), version):
            return entry
    return None


def lost_champion(root: Path, recipe: str, registry: Registry | None) -> str | None:
    """Says of the champion that the ledger names that the registry (None: there is none yet) lacks it."""
    known, versions = changes(root, recipe), registry.versions() if registry else []
    if not known or any(is_named(known[-1]["to"], version) for version in versions):
        return None
    return f"the ledger names {called(known[-1]['to'])} of {recipe} the champion, and the model registry lacks it"


def called(end: Mapping[str, Any]) -> str:
    """A version that the ledger names, for messages."""
    return f"version {end['version']} ({end['digest'][:12]})"


def bring_back(root: Path) -> str:
    """What mends a registry that lacks what it had."""
    return f"bring {masked(tracking_uri(root))} back from a copy"


def register_one(root: Path, recipe: str) -> str:
    """How a registry comes by a version; a run that finds the bundle packaged registers it only where it is forced."""
    report = Layout(root, recipe, "package").artifact / REPORT
    known = changes(root, recipe)
    if not report.is_file():  # a run may find the bundle in DVC's cache
        return f"'modelyard run {recipe}{' --force package' if known else ''}' makes one"
    packaged = read_json(report)["digest"]
    how = "" if not known else " again" if known[-1]["to"]["digest"] == packaged else " in its place"
    unless = ", unless what it is made from has changed since"
    return f"'modelyard run {recipe} --force package' registers the packaged bundle ({packaged[:12]}){how}{unless}"
