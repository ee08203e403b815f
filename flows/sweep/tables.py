"""The tables that `modelyard sweep` prints."""

from rich.console import Console
from rich.text import Text

from flows.sweep.judging.front import is_within
from flows.sweep.search import Found
from flows.sweep.settings.space import brief
from flows.telling.output import Data, plain_table

SHOWN = 20


def sweep_summary(found: Found, *, change: str | None) -> Data:
    sweep, best = found.plan.sweep, found.best
    counts = {state: sum(one.state == state for one in found.trials) for state in ("done", "pruned", "failed")}
    chosen = {"number": best.number, "value": best.value, "changes": found.changes} if best is not None else None
    return {
        "recipe": found.plan.name,
        "objective": sweep.objective,
        "objectives": dict(zip(sweep.objectives, sweep.directions, strict=True)),
        "constraints": sorted(sweep.constraints or {}),
        "trials": [
            {
                "number": one.number, "state": one.state, "value": one.value, "figures": dict(one.figures),
                "is_within": is_within(one, sweep), "settings": dict(one.settings), "seconds": one.seconds,
                "reason": one.reason, "run_id": one.run_id,
            }
            for one in found.trials
        ],
        **counts,
        "present": found.present.value,
        "front": [one.number for one in found.front],
        "best": chosen,
        "verdict": dict(found.verdict),
        "words": found.words,
        "report": str(found.folders.folder / "report/report.html"),
        "study": str(found.folders.folder / "study.db"),
        "run_id": found.run_id,
        "change": change,
    }  # fmt: skip


def sweep_tables(data: Data, console: Console) -> None:
    """Print the best trials, the front where there are several objectives, what the best one changes, and how it
    compares on the test split."""
    names = list(dict.fromkeys([*data["objectives"], *data["constraints"]]))
    best: Data = data["best"] or {"number": None, "changes": {}}
    ended: list[Data] = [one for one in data["trials"] if one["value"] is not None]
    shown = sorted(ended, key=lambda one: order_of(one, data))[:SHOWN]
    if len(data["objectives"]) > 1:
        by_number = {one["number"]: one for one in ended}
        shown = [by_number[number] for number in data["front"]]
        console.print("no trial is better than one of these in all objectives:" if shown else "no front")
    table = plain_table("trial", *names, "settings", "seconds", "")
    for one in shown:
        drawn = ", ".join(f"{brief(path)} {value}" for path, value in one["settings"].items())
        note = one["state"] if one["state"] != "done" else "" if one["is_within"] else "outside of the constraints"
        is_best = one["number"] == best["number"]
        figures = [one["figures"].get(name) for name in names]
        cells = [one["value"] if name == names[0] else value for name, value in zip(names, figures, strict=True)]
        table.add_row(str(one["number"]) if one["number"] else "present", *map(in_cell, cells), drawn,
                      f"{one['seconds']:.1f}", Text("best", style="green") if is_best else note)  # fmt: skip
    console.print(table)
    if len(ended) > len(shown):
        console.print(f"{len(ended) - len(shown)} more in the report", style="dim")
    failed = [one for one in data["trials"] if one["state"] == "failed"]
    for one in failed[:3]:
        console.print(f"trial {one['number']} failed: {one['reason']}", markup=False, style="yellow")
    console.print(f"{data['done']} done, {data['pruned']} pruned, {data['failed']} failed")
    if data["best"] is not None:  # else it is the error that the command ends with
        console.print(f"{data['recipe']}: {data['words']}", markup=False)
    for path, value in best["changes"].items():
        console.print(f"  {path}: {value}", markup=False)
    if data["change"] is not None:
        console.print(data["change"] or "params.yaml stays as it is", markup=False)
    elif best["changes"]:
        another = " (or '--trial N', another of the front)" if len(data["front"]) > 1 else ""
        console.print(
            f"'modelyard sweep {data['recipe']} --apply'{another} writes these into params.yaml", markup=False
        )
    console.print(f"report: {data['report']}", markup=False)


def order_of(one: Data, data: Data) -> tuple[bool, bool, float, int]:
    """Return the place of a trial among those that are shown: what is done and within first, then by its value."""
    sign = 1 if next(iter(data["objectives"].values())) == "minimize" else -1
    return one["state"] != "done", not one["is_within"], sign * one["value"], one["number"]


def in_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
