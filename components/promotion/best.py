"""The former champions beside which a challenger is judged, so that many small steps down do not add up.

Each step may be within what few rows can tell apart, and ten of them still make a bad model. So a challenger is
compared with the best champion so far as well, on today's held-out rows. Which one that was stands in the ledger's line
of each promotion, as `best`, so that the next gate measures one more version, not all. Where a line has none (a ledger
of an earlier release), the champions before it are all measured.

What a person decided knowingly begins anew: a version that was promoted by force, or whose alias was set by hand, is
not held to what came before it. A champion that was rolled back counts no longer.
"""

import logging
from pathlib import Path
from typing import Any

from components.plumbing.errors import ArtifactError
from components.promotion.builds import bring
from components.promotion.champions import called, changes, is_named
from components.promotion.ledger import Entry
from components.tracking.registry import Registry, Version

logger = logging.getLogger(__name__)

MAX_FORMER = 10
"""The largest number of former champions that are measured, the newest first, where no line says which was the best."""


def line_of(root: Path, recipe: str) -> list[Entry]:
    """Return the ledger's lines that lead to the present champion, from the last that a person decided knowingly."""
    line: list[Entry] = []
    for entry in changes(root, recipe):
        digests = [one["to"]["digest"] for one in line]
        if entry["to"]["digest"] in digests:  # it came back, by a rollback or under another number
            line = line[: digests.index(entry["to"]["digest"]) + 1]
        elif entry["action"] == "promote":
            line.append(entry)
        else:
            line = [entry]
    return line


def former_champions(root: Path, champion: Version) -> list[dict[str, Any]]:
    """Return the former champions among which is the best so far, as the ledger names them; without the present one."""
    found: list[dict[str, Any]] = []
    for entry in reversed(line_of(root, champion.recipe)):
        found.append(entry["to"])
        if "best" in entry:
            found.append(entry["best"])
            break
    different = {end["digest"]: end for end in found if not is_named(end, champion)}
    return list(different.values())[:MAX_FORMER]


def bring_former(root: Path, registry: Registry, champion: Version) -> tuple[list[tuple[Version, Path]], list[str]]:
    """Bring the bundles of the former champions to this machine; return them, and the versions that cannot be had, in
    words."""
    versions, found, lost = registry.versions(), list[tuple[Version, Path]](), list[str]()
    for end in former_champions(root, champion):
        version = next((one for one in versions if is_named(end, one)), None)
        try:
            if version is None:
                raise ArtifactError("the model registry lacks it")
            found.append(bring(root, registry, version))
        except ArtifactError as error:
            lost.append(called(end))
            logger.warning(
                "%s, which may be the best champion of %s so far, cannot be had (%s); the challenger is judged beside "
                "the others", called(end), champion.recipe, error,
            )  # fmt: skip
    return found, lost
