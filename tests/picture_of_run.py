"""Takes the picture of the end of `modelyard run` that the README shows, of a recipe that was run here, without another
run: the tables are those of the command, from its artifacts and from what MLflow knows of the run that trained them.

python -m tests.picture_of_run [RECIPE] [PICTURE]
"""

import io
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from components.plumbing.artifacts import REPORT, Layout, digest_of
from components.plumbing.environment import prepare_environment
from components.recipes import stages
from components.tracking.pipeline_run import PipelineRun
from components.tracking.store import Store
from flows.pipeline.run import Outcome
from flows.pipeline.stage import StageOutcome
from flows.pipeline.tables import run_summary, run_tables
from tests.projects import ROOT

WIDTH = 80


def last_training(root: Path, recipe: str) -> Outcome:
    """The newest pipeline run in which `finetune` ran and whose artifacts are those that are here, none of a later one.
    Its seconds are from the first stage to the last."""
    store = Store(root, recipe)
    for run in store.search("tags.`modelyard.stage` = 'pipeline' AND attributes.status = 'FINISHED'"):
        children = {
            child.data.tags["modelyard.stage"]: child for child in PipelineRun(store, run.info.run_id).children()
        }
        if "finetune" not in children or not all(is_here(root, recipe, child) for child in children.values()):
            continue
        made = [stage for stage in stages() if (Layout(root, recipe, stage).artifact / REPORT).is_file()]
        outcomes = [
            StageOutcome(stage, recipe, "ran", seconds_of(children[stage].info))
            if stage in children
            else StageOutcome(stage, recipe, "cached", 0.0)
            for stage in made
        ]
        return Outcome(recipe, outcomes, seconds_of(run.info), run.info.run_id)
    raise SystemExit(
        f"MLflow knows no run that trained {recipe} and made the artifacts that are here; 'modelyard run {recipe} "
        "--force finetune' is one"
    )


def is_here(root: Path, recipe: str, run: Any) -> bool:
    """Whether what a stage's run made is the artifact that is here."""
    made = digest_of(Layout(root, recipe, run.data.tags["modelyard.stage"]).artifact)
    return made is not None and run.data.tags.get("modelyard.digest") == made


def seconds_of(info: Any) -> float:
    """Of a run in MLflow."""
    return (info.end_time - info.start_time) / 1000


def take(root: Path, recipe: str, picture: Path) -> None:
    """Write what the terminal shows as an SVG, which asks no other machine for a font."""
    prepare_environment(root)
    outcome = last_training(root, recipe)
    data = run_summary(root, recipe, outcome) | {"seconds": outcome.seconds, "to_commit": ["dvc.lock"]}
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    run_tables(data, console)
    console.print()  # the last line of the picture is cut off at its foot
    drawn = console.export_svg(title=f"modelyard run {recipe}")
    picture.write_text(re.sub(r" *@font-face \{[^}]*\}\n", "", drawn), encoding="utf-8")


if __name__ == "__main__":
    given = sys.argv[1:]
    take(ROOT, given[0] if given else "movie_sentiment", Path(given[1]) if len(given) > 1 else ROOT / "docs/run.svg")
