"""Since when each schedule stands as it does: a note of the worker, which outlives it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

NOTE = ".modelyard/schedules.json"
Since = dict[str, datetime]
"""The time, in UTC, since which a schedule is what it is now, by its deployment's name (`retrain/movie_sentiment`)."""


def name_of(deployment: Any) -> str:
    """Return a deployment's whole name: of its flow, and its own."""
    return f"{(deployment.entrypoint or '').rpartition('.')[2]}/{deployment.name}"


def offered_since(root: Path, deployments: Sequence["RunnerDeployment"]) -> Since:
    """Return since when each schedule stands as it does, and note it: from now on for one that is new or has changed,
    so that no time is caught up at which it was not in force."""
    try:
        known: dict[str, dict[str, str]] = read_json(root / NOTE)
    except ArtifactError:  # there is none yet, or it cannot be read
        known = {}
    now = datetime.now(UTC).isoformat()
    noted = {name_of(one): {"times": times(one), "since": now} for one in deployments}
    for name, note in noted.items():
        if (before := known.get(name)) and before.get("times") == note["times"]:
            note["since"] = before["since"]
    if noted != known:
        (root / NOTE).parent.mkdir(parents=True, exist_ok=True)
        write_json(root / NOTE, noted)
    return {name: datetime.fromisoformat(note["since"]) for name, note in noted.items()}


def times(deployment: "RunnerDeployment") -> str:
    """Return what a deployment's schedules say, in one line."""
    schedules: list[Any] = [one.schedule for one in deployment.schedules or []]
    fields = ("cron", "interval", "anchor_date", "rrule", "timezone")
    return str([{name: str(getattr(one, name)) for name in fields if getattr(one, name, None)} for one in schedules])
