"""The drifts that have started a retraining: never twice for one cause, and not within the cool-down; and the end of
the last retraining, whatever started it.

They are kept in `.modelyard/monitoring/<recipe>.json`, by the version that drifted. A retraining that came to no
verdict (killed, stopped, a server that did not answer) does not count: the next look at the traffic starts it again.
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
    """The end of a retraining."""

    cause: str
    """What started the retraining: drift, schedule, by hand, or a person's own words."""
    at: str
    """The time at which it ended, as ISO 8601 in UTC."""
    state: str
    """The result as `modelyard retrain` says it, or `stopped`, by a gate or an error."""
    why: str

    @property
    def said(self) -> str:
        """The end in words for a person; empty where the model was promoted, or is on trial."""
        if self.state in GOOD:
            return ""
        return f"the last retraining ({self.cause}, {self.at[:16].replace('T', ' ')} UTC): {self.state}: {self.why}"


def causes_file(root: Path, name: str) -> Path:
    return root / ".modelyard" / "monitoring" / f"{name}.json"


@contextmanager
def memory_of(root: Path, name: str) -> Generator[dict[str, Any]]:
    """Yield what is kept for a recipe: `causes`, each version with when its retraining started, what it could learn
    from, and by which process (null: it came to a verdict), and `last`, the End of the last retraining or null. No
    other process changes it during the block, and what the block changed is written at its end."""
    path = causes_file(root, name)
    with hold(root, f"{name}.causes", doing=f"looking for what has drifted of {name}", wait=True):
        memory = read_memory(path)
        before = copy.deepcopy(memory)
        yield memory
        if memory != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, memory)


def read_memory(path: Path) -> dict[str, Any]:
    """Read what is kept for a recipe; ArtifactError where the file is broken."""
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
    """Return how the last retraining of a recipe ended; None where there was none."""
    last = read_memory(causes_file(root, name))["last"]
    return End(**last) if last else None


@contextmanager
def causes_of(root: Path, name: str) -> Generator[Causes]:
    with memory_of(root, name) as memory:
        yield memory["causes"]


def claim_retraining(
    root: Path, name: str, verdict: "Verdict", params: Monitoring, *, told_at: Sequence[datetime]
) -> str:
    """Note that this process starts a retraining for this verdict; return why it must not, or an empty
    string where it was noted.

    `told_at` has the times at which feedback was given on the rows that it can learn from.
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
    """Note that another process, given by its identity, does the retraining that this one claimed."""
    with causes_of(root, name) as causes:
        for cause in causes.values():
            cause["process"] = process if cause["process"] == identity() else cause["process"]


def drop_claim(root: Path, name: str) -> None:
    """Forget the retraining that this process claimed, which could not be started."""
    with causes_of(root, name) as causes:
        for version in [version for version, cause in causes.items() if cause["process"] == identity()]:
            del causes[version]


@contextmanager
def comes_to_a_verdict(root: Path, name: str, *, cause: str) -> Generator[End]:
    """Yield an End for a retraining in the block to fill in, and keep it: what the retraining was claimed for is done
    where it ends, well or with an error of its own (a stage's failed gate comes as the flow's error), and is open
    again where it is cut off."""
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
    """Keep how a retraining ended; after a verdict, every cause so far has had its retraining."""
    end.at = datetime.now(UTC).isoformat()
    with memory_of(root, name) as memory:
        memory["last"] = asdict(end)
        for cause in memory["causes"].values():
            cause["process"] = None if is_verdict else cause["process"]


def why_not(causes: Causes, version: str, params: Monitoring, *, now: datetime, told_at: Sequence[datetime]) -> str:
    """Return why no retraining starts; empty where one may.

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
