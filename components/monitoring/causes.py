"""Which drift has started a retraining: never twice for one cause, and not within the cool-down; and how the last
retraining ended, whatever started it.

Remembered in `.modelyard/monitoring/<recipe>.json`, by the version that drifted. A retraining that came to no verdict
(killed, stopped, a server that did not answer) does not count: the next look at the traffic starts it again.
"""

import copy
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.params import Monitoring
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError, BusyError, ModelyardError, TimeLimitError
from components.plumbing.locks import hold
from components.plumbing.processes import identity, is_alive

if TYPE_CHECKING:
    from components.monitoring.verdict import Verdict

Causes = dict[str, dict[str, Any]]
GOOD = ("promoted", "on trial")


@dataclass
class End:
    """How a retraining ended."""

    cause: str
    """What started it: drift, schedule, by hand, or a person's own words."""
    at: str
    """When it ended."""
    state: str
    """As `modelyard retrain` says it, or `stopped`, by a gate or an error."""
    why: str

    @property
    def said(self) -> str:
        """What a person should know of it; empty where its model was promoted, or is on trial."""
        if self.state in GOOD:
            return ""
        return f"the last retraining ({self.cause}, {self.at[:16].replace('T', ' ')} UTC): {self.state}: {self.why}"


def causes_file(root: Path, name: str) -> Path:
    return root / ".modelyard" / "monitoring" / f"{name}.json"


@contextmanager
def memory_of(root: Path, name: str) -> Generator[dict[str, Any]]:
    """What is remembered: `causes`, each version with when its retraining started, what it could learn from, and by
    which process (null: it came to a verdict), and `last`, the End of the last retraining or null. For the block, no
    other process changes it, and what the block changed is written at its end."""
    path = causes_file(root, name)
    with hold(root, f"{name}.causes", doing=f"looking for what has drifted of {name}", wait=True):
        memory = read_memory(path)
        before = copy.deepcopy(memory)
        yield memory
        if memory != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, memory)


def read_memory(path: Path) -> dict[str, Any]:
    """ArtifactError where the file is broken."""
    if not path.is_file():
        return {"causes": {}, "last": None}
    try:
        kept = read_json(path)
        causes = {version: {"process": None} | cause for version, cause in kept["causes"].items()}
        return {"causes": causes, "last": asdict(End(**kept["last"])) if kept.get("last") else None}
    except (ArtifactError, KeyError, TypeError, AttributeError) as error:
        said = str(error) if isinstance(error, ArtifactError) else f"{path} is not what was written"
        raise ArtifactError(f"{said}; delete it: what is lost is which drift was retrained for already") from error


def last_end(root: Path, name: str) -> End | None:
    """How the last retraining of a recipe ended; None where there was none."""
    last = read_memory(causes_file(root, name))["last"]
    return End(**last) if last else None


@contextmanager
def causes_of(root: Path, name: str) -> Generator[Causes]:
    with memory_of(root, name) as memory:
        yield memory["causes"]


def claim_retraining(
    root: Path, name: str, verdict: "Verdict", params: Monitoring, *, told_at: Sequence[datetime]
) -> str:
    """Note that this process starts a retraining for this verdict; gives why it must not, empty where it was noted.

    `told_at`: when each row with feedback that it can learn from was told.
    """
    now = datetime.now(UTC)
    with causes_of(root, name) as causes:
        if why := why_not(causes, verdict.version, params, now=now, told_at=told_at):
            return why
        causes[verdict.version] = {
            "at": now.isoformat(), "told_until": max(told_at).isoformat() if told_at else "",
            "reasons": list(verdict.reasons), "process": identity(),
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


@contextmanager
def comes_to_a_verdict(root: Path, name: str, *, cause: str) -> Generator[End]:
    """A retraining, whose block says how it ended: what it was claimed for is over where it ends, well or with an error
    of its own (a stage's failed gate comes as the flow's error), and nobody's where it is cut off."""
    end = End(cause, at="", state="", why="")
    try:
        yield end
    except Exception as error:
        end.state, end.why = "stopped", " ".join(str(error).split()) or type(error).__name__
        is_cut_off = isinstance(error, BusyError | TimeLimitError)
        is_verdict = isinstance(error, ModelyardError) and not (error.is_transient or is_cut_off)
        note_end(root, name, end, is_verdict=is_verdict)
        raise
    note_end(root, name, end, is_verdict=True)


def note_end(root: Path, name: str, end: End, *, is_verdict: bool) -> None:
    """Remember how a retraining ended; after a verdict, every cause so far has had its retraining."""
    end.at = datetime.now(UTC).isoformat()
    with memory_of(root, name) as memory:
        memory["last"] = asdict(end)
        for cause in memory["causes"].values():
            cause["process"] = None if is_verdict else cause["process"]


def why_not(causes: Causes, version: str, params: Monitoring, *, now: datetime, told_at: Sequence[datetime]) -> str:
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
        until = over[version].get("told_until", over[version]["at"])
        new = sum(not until or at > datetime.fromisoformat(until) for at in told_at)
        if new < params.min_new_feedback:
            return (
                f"no retraining: version {version} was retrained for drift already, and only {new} rows with feedback "
                f"are new (monitoring.min_new_feedback {params.min_new_feedback})"
            )
    return ""
