"""Which drift has started a retraining: never twice for one cause, and not within the cool-down.

Remembered in `.modelyard/monitoring/<recipe>.json`.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.artifacts import read_json, write_json
from components.monitoring.verdict import Verdict
from components.params import Monitoring


def state_path(root: Path, name: str) -> Path:
    return root / ".modelyard" / "monitoring" / f"{name}.json"


def claim_retraining(root: Path, name: str, verdict: Verdict, params: Monitoring, *, num_feedback: int) -> str:
    """Note that a retraining starts for this verdict; gives why it must not, empty where it was noted.

    Noted before it starts: whatever happens to it then, the same cause starts no other. `num_feedback`: rows with
    feedback that it can learn from.
    """
    path = state_path(root, name)
    state: dict[str, Any] = read_json(path) if path.is_file() else {"causes": {}}
    now = datetime.now(UTC)
    if why := why_not(state, verdict.version, params, now=now, num_feedback=num_feedback):
        return why
    cause = {"at": now.isoformat(), "num_feedback": num_feedback, "reasons": list(verdict.reasons)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"causes": state["causes"] | {verdict.version: cause}, "before": state["causes"]})
    return ""


def give_back_claim(root: Path, name: str) -> None:
    """Forget the newest note: what it was for could not even be started."""
    path = state_path(root, name)
    write_json(path, {"causes": read_json(path)["before"]})


def why_not(
    state: dict[str, Any], version: str, params: Monitoring, *, now: datetime, num_feedback: int
) -> str:  # fmt: skip
    """Why no retraining starts; empty where one may.

    One cause is the drift away from one version. It is another one when there is something new to learn from: so many
    rows of feedback that the last retraining did not have.
    """
    if not params.retrain:
        return "no retraining: monitoring.retrain is false"
    causes: dict[str, Any] = state["causes"]
    newest = max((datetime.fromisoformat(cause["at"]) for cause in causes.values()), default=None)
    if newest is not None and now < newest + timedelta(seconds=params.cool_down_s):
        until = newest + timedelta(seconds=params.cool_down_s)
        return (
            f"no retraining: the last was at {newest:%Y-%m-%d %H:%M} UTC, and the cool-down ends at {until:%H:%M} UTC"
        )
    if version in causes:
        new = num_feedback - causes[version]["num_feedback"]
        if new < params.min_new_feedback:
            return (
                f"no retraining: version {version} was retrained for drift already, and only {new} rows with feedback "
                f"are new (monitoring.min_new_feedback {params.min_new_feedback})"
            )
    return ""
