"""What commands print: each report as plain data (for --json), and as tables for a person."""

import os
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.artifacts import REPORT, Layout, read_json
from components.logs import clear_note
from components.processes import age_s
from components.recipes import PARAMS, load_yaml, stages
from components.summary import CLASSIFIER, headline, seconds_rows, size_rows
from components.tasks import TASKS, task_of
from flows.changes import to_commit
from flows.cli.answer import keep

if TYPE_CHECKING:
    from flows.doctor import Check
    from flows.new import Added
    from flows.pipeline import Outcome
    from flows.up.commands import Seen
    from flows.why import Reason

Data = dict[str, Any]
Render = Callable[[Data, Console], None]
STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "ran": "bold", "cached": "dim",
          "starting": "yellow", "waiting": "yellow", "stopped": "dim", "degraded": "red", "down": "red",
          "crashed": "red", "refused": "red"}  # fmt: skip
PLAIN_WIDTH = 120


@contextmanager
def reporting(as_json: bool) -> Generator[Callable[[Data, Render], None]]:
    """Keep standard output for the report: whatever else is written there, by any library, goes to standard error.

    As JSON the report is written when the command has ended, with the error that it may end with.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def report(data: Data, render: Render) -> None:
        if as_json:
            keep(data)
            return
        clear_note()
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as out:
            render(data, Console(file=out, width=None if out.isatty() else PLAIN_WIDTH, highlight=False))

    try:
        yield report
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


# ---------------------------------------------------------------- run


def run_summary(root: Path, recipe: str, outcome: "Outcome") -> Data:
    """The outcome with the report of every stage, and the measured speeds where they were measured here."""
    raw = load_yaml(root / PARAMS)["recipes"][recipe]
    return {
        "recipe": recipe,
        "seconds": round(age_s(), 2),
        "parent_run_id": outcome.parent_run_id,
        "stages": [asdict(stage) for stage in outcome.stages],
        "reports": {s.stage: read_json(Layout(root, recipe, s.stage).artifact / REPORT) for s in outcome.stages},
        "speeds": speeds_of(root, recipe),
        "to_commit": to_commit(root),
        "bentoml_home": store_of_bentos(root),
        "task": raw["task"],
        "order": raw["evaluate"].get("order"),  # of a language model's n-grams
    }


def store_of_bentos(root: Path) -> str:
    """Where BentoML's store is, as a shell in the project's folder names it."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    return str(home.relative_to(root)) if home.is_relative_to(root) else str(home)


def stages_table(data: Data) -> Table:
    """Seconds of each stage, of what is beside them, and of all."""
    table = plain_table("stage", "", "seconds")
    each, rest, total = seconds_rows(data["stages"], data["seconds"])
    for stage, seconds in zip(data["stages"], each, strict=True):
        state = stage["state"]
        shown_state = "from DVC's cache" if stage["is_restored"] else state
        table.add_row(stage["stage"], Text(shown_state, style=STYLES[state]), seconds)
    table.add_row("beside them", Text("loading, recording", style="dim"), rest)
    table.add_row("in all", "", total)
    return table


def speeds_of(root: Path, recipe: str) -> Any:
    """What `compress` measured; None on a machine that never measured."""
    path = Layout(root, recipe, "compress").observations / "speeds.json"
    return read_json(path) if path.is_file() else None


def run_tables(data: Data, console: Console) -> None:
    """Stages, the figures of the model, and what to do next."""
    console.print(stages_table(data))
    reports = data["reports"]
    heads, quality = task_of(data["task"]).summary().table(reports.get("evaluate", {}), data["order"])
    compressed = reports.get("compress", {})
    changed = ("", "trained", f"served ({method_of(compressed)})", "")
    for columns, rows in ((heads, quality), (changed, size_rows(compressed, data["speeds"]))):
        if rows:
            console.print()
            table = plain_table(*columns)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if judged := compressed.get("judged"):
        console.print(Text(f"compared on {judged}", style="dim"))
    if tag := reports.get("package", {}).get("tag"):
        console.print(f"\nbundle  {tag}")
    recipe = data["recipe"]
    console.print("\nNext:")
    if tag:
        console.print(f"  modelyard serve {recipe:22} serve it on this machine")
    console.print("  modelyard ui                           browse this run and earlier ones")
    console.print(f"  dvc repro {data['stages'][-1]['stage'] + '@' + recipe:28} reproduce it without Prefect")
    if tag:
        console.print("BentoML's commands find the bundle in the project's store:", style="dim")
        console.print(f"  BENTOML_HOME={shlex.quote(data['bentoml_home'])} bentoml list", soft_wrap=True)
    if edited := data["to_commit"]:
        console.print("To keep which inputs gave which outputs:", style="dim")
        console.print(f"  git add {' '.join(edited)} && git commit -m 'Run {recipe}'", soft_wrap=True)


# ---------------------------------------------------------------- why


def why_summary(recipe: str, reasons: list["Reason"]) -> Data:
    return {"recipe": recipe, "stages": [asdict(reason) for reason in reasons]}


def why_table(data: Data, console: Console) -> None:
    table = plain_table("stage", "", "because")
    for reason in data["stages"]:
        unchanged = "from DVC's cache" if reason["would_restore"] else "unchanged"
        state = Text("would run", style="bold") if reason["would_run"] else Text(unchanged, style="dim")
        table.add_row(reason["stage"], state, "\n".join(reason["causes"]))
    console.print(table)


# ---------------------------------------------------------------- new


def new_summary(added: "Added") -> Data:
    data = asdict(added)
    del data["figures"]["tokens"]  # a number for each row: what was made of them is among the settings
    return data


def new_notes(data: Data, console: Console) -> None:
    """What was found and chosen, what to look at, and the next command."""
    figures, settings = data["figures"], data["settings"]
    console.print(
        f"{data['recipe']}: {figures['num_rows']:,} rows, {len(figures['labels'])} classes, texts of about "
        f"{figures['median_length']:,} characters; it is in {PARAMS}, with the reason for each choice."
    )
    console.print(
        f"Training: {settings['epochs']} epoch{'s' * (settings['epochs'] > 1)}, texts of at most "
        f"{settings['max_tokens']} tokens, about "
        f"{max(1, round(settings['training_s'] / 60))} min on 2 cores."
    )
    for hint in data["hints"]:
        console.print(f"Note: {hint}.", style="yellow", markup=False)
    console.print(f"Next: modelyard run {data['recipe']}")


# ---------------------------------------------------------------- doctor


def doctor_summary(checks: list["Check"]) -> Data:
    worst = next((state for state in ("fail", "warn") if any(check.state == state for check in checks)), "ok")
    return {"state": worst, "checks": [asdict(check) for check in checks]}


def doctor_table(data: Data, console: Console) -> None:
    table = plain_table("", "", "")
    table.show_header = False
    for check in data["checks"]:
        found = Text(check["found"])
        if check["mend"]:
            found.append(f"\n→ {check['mend']}", style="cyan")
        table.add_row(Text(check["state"], style=STYLES[check["state"]]), check["name"], found)
    console.print(table)


# ---------------------------------------------------------------- recipes


def recipes_summary(root: Path) -> Data:
    """Every recipe, with what its artifacts say."""
    return {"recipes": [recipe_summary(root, name, raw) for name, raw in load_yaml(root / PARAMS)["recipes"].items()]}


def recipe_summary(root: Path, name: str, raw: Any) -> Data:
    done = [stage for stage in stages() if (Layout(root, name, stage).artifact / REPORT).is_file()]
    reports = {stage: read_json(Layout(root, name, stage).artifact / REPORT) for stage in done}
    task = raw.get("task") if isinstance(raw, dict) else None  # which a recipe with faults may lack
    source = raw.get("ingest", {}).get("source", {}) if isinstance(raw, dict) else {}
    return {
        "recipe": name,
        "source": " ".join(str(source[key]) for key in ("kind", "path", "package", "repo", "url") if key in source),
        "stages_done": done,
        **quality_of(task, reports.get("evaluate", {}), reports.get("compress", {})),
        "tag": reports.get("package", {}).get("tag"),
    }


def quality_of(task: str | None, evaluated: Data, compressed: Data) -> Data:
    """The quality on the test split of the trained and of the served model, plain and in words; None where it is not
    made yet."""
    summary = TASKS[task]().summary() if task in TASKS else CLASSIFIER
    told, key = headline(summary, evaluated, compressed), summary.headline(evaluated)
    return {
        "metric": key or None,
        "quality": evaluated[key] if key else None,
        "on_test": told.model or None,
        "served_quality": compressed.get("quality"),
        "served": told.served or None,
        "method": method_of(compressed) or None,
    }


def method_of(compressed: Data) -> str:
    """How the served model was made: `int8`, `int8, 30 % pruned`."""
    method: str = compressed.get("method", "")
    sparsity = compressed.get("sparsity")
    return f"{method.removeprefix('pruned_')}, {sparsity:.0%} pruned".replace("%", " %") if sparsity else method


def recipes_table(data: Data, console: Console) -> None:
    table = plain_table("recipe", "source", "stages", "on the test split", "served", "bundle")
    for recipe in data["recipes"]:
        done = f"{len(recipe['stages_done'])} of {len(stages())}"
        served = f"{recipe['served']} ({recipe['method']})" if recipe["served"] else ""
        table.add_row(recipe["recipe"], recipe["source"], done, recipe["on_test"] or "", served, recipe["tag"] or "")
    console.print(table)


# ---------------------------------------------------------------- up


def up_summary(rows: list["Seen"]) -> Data:
    """Every part, and whether none of those that were started is unwell."""
    from flows.up.commands import BAD

    return {"is_well": all(row.state not in BAD for row in rows), "parts": [asdict(row) for row in rows]}


def up_table(data: Data, console: Console) -> None:
    table = plain_table("", "", "address", "version", "pid", "")
    for row in data["parts"]:
        state = Text(row["state"], style=STYLES[row["state"]])
        pid = "" if row["pid"] is None else str(row["pid"])
        table.add_row(row["name"], state, row["address"], row["version"], pid, Text(row["note"]))
    console.print(table)
    if all(row["pid"] is None for row in data["parts"]):
        console.print("Nothing runs; 'modelyard up' starts it.")
    for row in data["parts"]:
        if row["state"] in ("crashed", "down", "starting"):
            console.print(Text(f"log of {row['name']}: {row['log']}"))


def down_summary(done: list[tuple[str, bool]]) -> Data:
    return {"stopped": [{"name": name, "when_asked": when_asked} for name, when_asked in done]}


def down_lines(data: Data, console: Console) -> None:
    for one in data["stopped"]:
        console.print(f"{one['name']} stopped" + ("" if one["when_asked"] else " (killed: it did not end when asked)"))
    if not data["stopped"]:
        console.print("Nothing ran.")
