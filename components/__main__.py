"""`python -m components <stage> <recipe>`: one stage of one recipe.

dvc.yaml calls it without the recipe, which DVC names in the environment: in a command, a shell would read the name.
"""

import argparse
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.following import follow_stage, is_other_rank, num_to_start, ranks_of
from components.launching import command_of, launch
from components.params import Recipe, Training
from components.plumbing.artifacts import (
    ERROR,
    REPORT,
    Layout,
    artifact_names,
    disk_full,
    figures_of,
    is_of_full_disk,
    write_json,
    writing,
)
from components.plumbing.damage import drop_damaged
from components.plumbing.environment import forgo_last_collection, prepare_environment
from components.plumbing.errors import ArtifactError, DiskFullError, GateError, ModelyardError
from components.plumbing.finished import drop_finished, note_finished, note_unfinished
from components.plumbing.last_good import bring_back
from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold
from components.plumbing.logs import configure_logging
from components.plumbing.logs import say as write_line
from components.plumbing.progress import going_on
from components.plumbing.stopping import Stopping
from components.recipes import check_name, load_recipe, section_of, stages
from components.stages import STAGES, fingerprint_in
from components.tracking.stage_run import PIPELINE_VARIABLE, stage_run
from components.tracking.store import store_errors
from components.tracking.tracker import Tracker
from serving.predictors.session import VARIABLE as DEVICE

RUN = "run.json"
"""The file, beside the checkpoints of a training, that names its run in MLflow."""
DVC_STAGE = "DVC_STAGE"
"""The environment variable with the address of the stage that DVC is at, `<stage>@<recipe>`."""


def run_stage(
    root: Path, recipe: str, stage: str, *, tracker: Tracker, settings: Recipe | None = None
) -> dict[str, Any]:
    """Run one stage: bind its paths, check its inputs, put its artifact in place. Gives its report.

    `settings` are the recipe's, read from params.yaml where they are not given.
    A failed gate leaves the report that it judged in `observations/`, and the last good artifact where it was.
    """
    settings = settings or load_recipe(root, recipe)
    work, section = STAGES[stage](settings), section_of(settings, stage)
    layout = Layout(root, recipe, stage)
    inputs = sound_inputs(layout, work.Inputs)
    fingerprint = fingerprint_in(layout, settings)
    layout.renew_observations()
    note_unfinished(layout, fingerprint)
    with writing(layout.artifact) as folder:
        outputs = layout.outputs(work.Outputs, folder=folder, fingerprint=fingerprint)
        try:
            report = figures_of(work.run(section, inputs, outputs, tracker=tracker))
        except GateError as error:
            write_json(layout.observations / REPORT, error.report)
            raise
        write_json(folder / REPORT, report)
    if isinstance(section, Training):
        note_finished(layout, fingerprint)
    else:
        layout.drop_checkpoints()
    return report


def unfinished_run(layout: Layout, settings: Recipe) -> Path | None:
    """Return the place of the note of the run of a stage's training, beside its checkpoints; None where the stage
    trains nothing, or where what it reads is not there."""
    if not isinstance(section_of(settings, layout.stage), Training):
        return None
    with suppress(ArtifactError):
        return layout.checkpoints(fingerprint_in(layout, settings)) / RUN
    return None


def sound_inputs(layout: Layout, inputs: type[Any]) -> Any:
    """Bind the stage's inputs; where one is not what was recorded, take away what is damaged of all artifacts before
    this stage, so that the same command makes it again."""
    try:
        return layout.inputs(inputs)
    except ArtifactError as error:
        before = stages()[: stages().index(layout.stage)]
        taken = drop_damaged(layout.root, layout.recipe, before)
        if not taken:
            raise
        told = str(error).rpartition("; ")[0]
        raise ArtifactError(
            f"{told}; what is damaged was taken away, here and in DVC's cache ({len(taken)} in all): run the same "
            "command again, which brings back or makes again what is missing"
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Run the stage; gives the exit code (0 done, 1 failed, 2 bad input, 3 failed gate, 130 interrupted)."""
    parser = argparse.ArgumentParser(prog="python -m components", description=__doc__)
    parser.add_argument("stage", choices=stages())
    named = os.environ.get(DVC_STAGE, "").partition("@")[2]
    told = "an entry of params.yaml, for example movie_sentiment; by default the one that DVC is at"
    parser.add_argument("recipe", nargs="?" if named else None, default=named, help=told)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    prepare_environment(Path.cwd())
    os.environ.pop(DEVICE, None)  # of a service; what a stage measures and proves is the processor's
    configure_logging()
    root, recipe, stage = Path.cwd(), args.recipe, args.stage
    layout = Layout(root, recipe, stage)
    try:
        check_name(recipe)  # before it is part of a path
    except ModelyardError as error:
        write_line(f"{stage}: {error}")
        return error.exit_code
    if is_other_rank():
        return follow_stage(layout, debug=args.debug)
    try:
        stopping = Stopping()  # which may ask at once: the driver may be gone already
        settings = load_recipe(root, recipe)  # once: what is logged is what runs
        if (num_ranks := num_to_start(settings, stage)) > 1:
            with stopping.work():
                return launch(command_of(stage, recipe, *["--debug"] if args.debug else []), num_ranks)
        with (
            hold(root, f"{recipe}.stage", doing=f"{stage}@{recipe}", wait=False, works_for=stopping.drivers),
            store_errors(root),
        ):
            drop_finished(root, recipe)
            with (
                stage_run(root, recipe, stage, unfinished=unfinished_run(layout, settings)) as run,
                stopping.work(),
            ):
                params = section_of(settings, stage).model_dump(mode="json")
                run.log_start(params, locked_digests(root, recipe, STAGES[stage](settings).Inputs))
                with going_on(f"{stage}@{recipe}"), ranks_of(layout, settings):
                    run_stage(root, recipe, stage, tracker=run, settings=settings)
                run.log_end(layout.artifact)
    except Exception as error:
        told = disk_full(f"of {root}") if is_of_full_disk(error) else error
        if args.debug:
            traceback.print_exc()
        bring_back(root, [recipe])
        if not isinstance(told, ModelyardError):
            raise
        say(layout, told)
        return told.exit_code
    except KeyboardInterrupt:
        bring_back(root, [recipe])
        write_line(f"{stage}@{recipe}: interrupted; the next run carries on")
        return 130
    except BaseException:
        bring_back(root, [recipe])
        raise
    return 0


def say(layout: Layout, error: ModelyardError) -> None:
    """Leave the error among the observations; where a flow drives, it reads it there and says it, else say it here."""
    left = {"message": str(error), "exit_code": error.exit_code, "is_transient": error.is_transient, "kind": error.kind}
    is_left = False
    with suppress(OSError, DiskFullError):
        layout.observations.mkdir(parents=True, exist_ok=True)
        write_json(layout.observations / ERROR, left)
        is_left = True
    if PIPELINE_VARIABLE not in os.environ or not is_left:
        write_line(f"{layout.stage}@{layout.recipe}: {error}")


def locked_digests(root: Path, recipe: str, inputs: type[Any]) -> dict[str, str]:
    """The md5 of each artifact that the stage reads, as dvc.lock has it; empty where DVC has not made them."""
    locked = locked_stages(root)
    prefix = f"artifacts/{recipe}/"
    outs = {out["path"]: out["md5"] for entry in locked.values() for out in entry.get("outs", [])}
    names = artifact_names(inputs)
    return {name: outs[prefix + name.rstrip("/")] for name in names if prefix + name.rstrip("/") in outs}


if __name__ == "__main__":
    code = main()
    forgo_last_collection()
    sys.exit(code)
