"""What `modelyard sweep` prints."""

from typing import Any

from rich.console import Console
from rich.text import Text

from flows.sweep.search import Found
from flows.sweep.verdict import in_words
from flows.telling.output import Data, plain_table

SHOWN = 20


def sweep_summary(found: Found, *, change: str | None) -> Data:
    sweep = found.plan.sweep
    counts = {state: sum(one.state == state for one in found.trials) for state in ("done", "pruned", "failed")}
    return {
        "recipe": found.plan.name,
        "objective": sweep.objective,
        "direction": "minimize" if sweep.minimizes else "maximize",
        "trials": [
            {
                "number": one.number, "state": one.state, "value": one.value, "settings": dict(one.settings),
                "seconds": one.seconds, "reason": one.reason, "run_id": one.run_id,
            }
            for one in found.trials
        ],
        **counts,
        "present": found.present.value,
        "best": {"number": found.best.number, "value": found.best.value, "changes": found.changes},
        "verdict": dict(found.verdict),
        "words": words_of(found),
        "report": str(found.places.folder / "report/report.html"),
        "study": str(found.places.folder / "study.db"),
        "run_id": found.run_id,
        "change": change,
    }  # fmt: skip


def words_of(found: Found) -> str:
    if not found.changes:
        return "nothing was better than the present settings"
    if not found.verdict:
        return "the two were not compared on the test split: evaluate leaves no answers by row for this task"
    objective = found.plan.sweep.objective
    both = (found.present.figures[objective], found.best.figures[objective])
    return in_words(found.verdict, num_trials=len(found.trials), objective=objective, validation=both)


def sweep_tables(data: Data, console: Console) -> None:
    """Print the best trials, what the best one changes, and how it compares on the test split."""
    sign = 1 if data["direction"] == "minimize" else -1
    ended: list[dict[str, Any]] = [one for one in data["trials"] if one["value"] is not None]
    table = plain_table("trial", data["objective"], "settings", "seconds", "")
    for one in sorted(ended, key=lambda one: (one["state"] != "done", sign * one["value"], one["number"]))[:SHOWN]:
        drawn = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in one["settings"].items())
        is_best = one["number"] == data["best"]["number"]
        note = Text("best", style="green") if is_best else one["state"] if one["state"] != "done" else ""
        table.add_row(str(one["number"]) if one["number"] else "present", f"{one['value']:.4f}", drawn,
                      f"{one['seconds']:.1f}", note)  # fmt: skip
    console.print(table)
    if len(ended) > SHOWN:
        console.print(f"{len(ended) - SHOWN} more in the report", style="dim")
    failed = [one for one in data["trials"] if one["state"] == "failed"]
    for one in failed[:3]:
        console.print(f"trial {one['number']} failed: {one['reason']}", markup=False, style="yellow")
    console.print(f"{data['done']} done, {data['pruned']} pruned, {data['failed']} failed")
    console.print(f"{data['recipe']}: {data['words']}", markup=False)
    for path, value in data["best"]["changes"].items():
        console.print(f"  {path}: {value}", markup=False)
    if data["change"] is not None:
        console.print(data["change"] or "params.yaml stays as it is", markup=False)
    elif data["best"]["changes"]:
        console.print(f"'modelyard sweep {data['recipe']} --apply' writes these into params.yaml", markup=False)
    console.print(f"report: {data['report']}", markup=False)
