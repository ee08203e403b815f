"""Which drift has started a retraining: never twice for one cause, and not within the cool-down.

Remembered in `.modelyard/monitoring/<recipe>.json`, by the version that drifted. A retraining that came to no verdict
(killed, stopped, a server that did not answer) does not count: the next look at the traffic starts it again.
"""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.artifacts import read_json, write_json
from components.errors import BusyError, ModelyardError
from components.locks import hold
from components.monitoring.verdict import Verdict
from components.params import Monitoring
from components.processes import identity, is_alive

Causes = dict[str, dict[str, Any]]


def causes_file(root: Path, name: str) -> Path:
    return root / ".modelyard" / "monitoring" / f"{name}.json"


@contextmanager
def causes_of(root: Path, name: str) -> Generator[Causes]:
    """Each version with when its retraining started, what it could learn from, and by which process (null: it came to
    a verdict); for the block, no other process changes them, and what the block changed is written at its end."""
    path = causes_file(root, name)
    with hold(root, f"{name}.causes", doing=f"looking for what has drifted of {name}", wait=True):
        kept: Causes = read_json(path)["causes"] if path.is_file() else {}
        causes = {version: {"process": None} | cause for version, cause in kept.items()}
        before = copy.deepcopy(causes)
        yield causes
        if causes != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"causes": causes})


def claim_retraining(root: Path, name: str, verdict: Verdict, params: Monitoring, *, num_feedback: int) -> str:
    """Note that this process starts a retraining for this verdict; gives why it must not, empty where it was noted.

    `num_feedback`: rows with feedback that it can learn from.
    """
    now = datetime.now(UTC)
    with causes_of(root, name) as causes:
        if why := why_not(causes, verdict.version, params, now=now, num_feedback=num_feedback):
            return why
        causes[verdict.version] = {
            "at": now.isoformat(), "num_feedback": num_feedback, "reasons": list(verdict.reasons),
            "process": identity(),
        }  # fmt: skip
        return ""


def hand_claim_to(root: Path, name: str, process: str) -> None:
    """Another process does what this one claimed."""
    with causes_of(root, name) as causes:
        for cause in causes.values():
            cause["process"] = process if cause["process"] == identity() else cause["process"]


def drop_claim(root: Path, name: str) -> None:
    """What this process claimed could not even be started."""
    with causes_of(root, name) as causes:
        for version in [version for version, cause in causes.items() if cause["process"] == identity()]:
            del causes[version]


def close_claims(root: Path, name: str) -> None:
    """Every cause so far has had its retraining."""
    with causes_of(root, name) as causes:
        for cause in causes.values():
            cause["process"] = None


@contextmanager
def comes_to_a_verdict(root: Path, name: str) -> Generator[None]:
    """A retraining: what it was claimed for is over where it ends, well or with an error of its own (a stage's failed
    gate comes as the flow's error), and nobody's where it is cut off."""
    try:
        yield
    except ModelyardError as error:
        if not (error.is_transient or isinstance(error, BusyError)):
            close_claims(root, name)
        raise
    close_claims(root, name)


def why_not(causes: Causes, version: str, params: Monitoring, *, now: datetime, num_feedback: int) -> str:
    """Why no retraining starts; empty where one may.

    One cause is the drift away from one version. It is another one when there is something new to learn from: so many
    rows of feedback that the last retraining did not have.
    """
    if not params.retrain:
        return "no retraining: monitoring.retrain is false"
    if any(cause["process"] is not None and is_alive(cause["process"]) for cause in causes.values()):
        return "no retraining: one is under way"
    over = {of: cause for of, cause in causes.items() if cause["process"] is None}
    newest = max((datetime.fromisoformat(cause["at"]) for cause in over.values()), default=None)
    if newest is not None and now < newest + timedelta(seconds=params.cool_down_s):
        until = newest + timedelta(seconds=params.cool_down_s)
        return (
            f"no retraining: the last was at {newest:%Y-%m-%d %H:%M} UTC, and the cool-down ends at "
            f"{until:%Y-%m-%d %H:%M} UTC"
        )
    if version in over:
        new = num_feedback - over[version]["num_feedback"]
        if new < params.min_new_feedback:
            return (
                f"no retraining: version {version} was retrained for drift already, and only {new} rows with feedback "
                f"are new (monitoring.min_new_feedback {params.min_new_feedback})"
            )
    return ""
