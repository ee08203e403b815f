"""The output of `run`, `why` and `recipes`: each report as plain data (for --json), and as tables for a person."""

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.plumbing.artifacts import ERROR, PAGE, REPORT, Layout, read_json
from components.plumbing.errors import GateError
from components.plumbing.processes import age_s
from components.recipes import PARAMS, load_yaml, stages
from components.summary import CLASSIFIER, headline, seconds_rows, size_rows
from components.tasks import TASKS, task_of
from flows.pipeline.changes import to_commit
from flows.telling.output import STYLES, Data, plain_table

if TYPE_CHECKING:
    from flows.pipeline.run import Outcome
    from flows.pipeline.why import Reason


def run_summary(root: Path, recipe: str, outcome: "Outcome") -> Data:
    """Return the outcome with the report of every stage, and the speeds where they were measured on this machine."""
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
    """Return the folder of BentoML's store, as a shell in the project's folder names it."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    return str(home.relative_to(root)) if home.is_relative_to(root) else str(home)


def stages_table(data: Data) -> Table:
    """Return the table with the seconds of each stage, of the work beside them, and of all."""
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
    """Return the speeds that `compress` measured; None on a machine that never measured."""
    path = Layout(root, recipe, "compress").observations / "speeds.json"
    return read_json(path) if path.is_file() else None


def run_tables(data: Data, console: Console) -> None:
    """Print the stages, the figures of the model, and what to do next."""
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
    if told := lost_to_baseline(reports.get("evaluate", {})):
        console.print(Text(told, style="bold"))
    if tag := reports.get("package", {}).get("tag"):
        console.print(f"\nbundle  {tag}")
    if reports.get("evaluate"):
        console.print(f"report  artifacts/{data['recipe']}/evaluate/results/{PAGE}", soft_wrap=True)
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


def lost_to_baseline(evaluated: Data) -> str:
    """Return in words that a classifier is surely worse than its baseline, which a lenient gate lets pass; else
    nothing."""
    if evaluated.get("gain_high", 0) >= 0:
        return ""
    return (
        f"\nThe {evaluated.get('baseline', 'baseline')} is surely better than this model: the whole interval of the "
        "gain lies below 0. More rows, or an encoder that knows them, may turn that. Where such a model is not to be "
        "served, set evaluate.gate.min_gain to 0."
    )


def why_summary(recipe: str, reasons: list["Reason"]) -> Data:
    return {"recipe": recipe, "stages": [asdict(reason) for reason in reasons]}


def why_table(data: Data, console: Console) -> None:
    table = plain_table("stage", "", "because")
    for reason in data["stages"]:
        unchanged = "from DVC's cache" if reason["would_restore"] else "unchanged"
        state = Text("would run", style="bold") if reason["would_run"] else Text(unchanged, style="dim")
        table.add_row(reason["stage"], state, "\n".join(reason["causes"]))
    console.print(table)


def recipes_summary(root: Path) -> Data:
    """Return every recipe, with what its artifacts say."""
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
        "stopped": stopped_at(root, name),
        **quality_of(task, reports.get("evaluate", {}), reports.get("compress", {})),
        "tag": reports.get("package", {}).get("tag"),
    }


def stopped_at(root: Path, name: str) -> Data | None:
    """Return the stage at which the last run of a recipe ended, and the kind of end; None where it ended at none."""
    for stage in stages():
        left = Layout(root, name, stage).observations / ERROR
        if left.is_file():
            code = read_json(left).get("exit_code")
            return {"stage": stage, "kind": "gate failed" if code == GateError.exit_code else "failed"}
    return None


def quality_of(task: str | None, evaluated: Data, compressed: Data) -> Data:
    """Return the quality on the test split of the trained and of the served model, as numbers and in words; None
    where it is not made yet."""
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
    """Return how the served model was made: `int8`, `pruned_int8 0.3`, `int8, 5 layers, ff 0.5`."""
    return compressed.get("candidate", "")


def recipes_table(data: Data, console: Console) -> None:
    table = plain_table("recipe", "source", "stages", "on the test split", "served", "bundle")
    for recipe in data["recipes"]:
        done = f"{len(recipe['stages_done'])} of {len(stages())}"
        if stopped := recipe["stopped"]:
            done += f"\n{stopped['stage']}: {stopped['kind']}"
        served = f"{recipe['served']} ({recipe['method']})" if recipe["served"] else ""
        table.add_row(recipe["recipe"], recipe["source"], done, recipe["on_test"] or "", served, recipe["tag"] or "")
    console.print(table)
