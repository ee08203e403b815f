"""The commands that lead from rows to a bundle: new, recipes, estimate, profile, why, run, sweep."""

from pathlib import Path
from typing import Any

import click

from components.plumbing.errors import InputError
from flows.cli.group import RECIPES, STAGES, Project, cli, json_option


@cli.command()
@click.argument("name")
@click.option(
    "--data", required=True, metavar="FILE", type=click.Path(path_type=Path), help="csv, tsv, jsonl or parquet."
)
@click.option("--text", required=True, metavar="COLUMN", help="The column that holds the texts.")
@click.option("--label", required=True, metavar="COLUMN", help="The column that holds the classes.")
@click.option(
    "--test", metavar="FILE", type=click.Path(path_type=Path), help="The test rows, where they are a file of their own."
)
@click.option("--split", metavar="COLUMN", help="The column that says of each row: train, validation or test.")
@click.option(
    "--encoder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An encoder with its tokenizer. By default MiniLM, which knows English.",
)
@click.option(
    "--minutes",
    default=15.0,
    show_default=True,
    type=click.FloatRange(1),
    help="The most that a run may take on this machine, with nothing else to do; by the estimate it becomes steps.",
)
@click.option("--encoding", metavar="NAME", help="The encoding of delimited text, such as windows-1251.")
@json_option
@click.pass_obj
def new(
    project: Project, name: str, data: Path, text: str, label: str, test: Path | None, split: str | None,
    encoder: Path | None, minutes: float, encoding: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Add recipe NAME for your own rows to params.yaml.

    The data contract, the split and the training settings are proposed from the rows that are there; the recipe says
    in comments what each was chosen by.

    \b
    Example:
      modelyard new tickets --data tickets.csv --text body --label team
      modelyard run tickets
    """
    from flows.new import add_recipe
    from flows.new.tables import new_notes, new_summary
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        held_out = test.absolute() if test else None
        added = add_recipe(
            root,
            name,
            data=data.absolute(),
            test=held_out,
            text=text,
            label=label,
            split=split,
            encoder=encoder,
            minutes=minutes,
            encoding=encoding,
        )
        report(new_summary(added), new_notes)


@cli.command()
@json_option
@click.pass_obj
def recipes(project: Project, as_json: bool) -> None:
    """List the recipes of this project, and how far each has come.

    \b
    Example:
      modelyard recipes
    """
    from flows.pipeline.tables import recipes_summary, recipes_table
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        report(recipes_summary(root), recipes_table)


@cli.command()
@click.argument("recipe", required=False, shell_complete=RECIPES)
@click.option("--params", metavar="N", help="Parameters of a model of any size, in place of a recipe: 7e9 or 7B.")
@click.option("--tokens", metavar="N", help="That it is trained on. By default 20 a parameter.")
@click.option("--device-memory", metavar="SIZE", default="80GiB", show_default=True)
@click.option("--device-flops", metavar="N", default="400e12", show_default=True, help="Operations a second, at best.")
@click.option("--utilisation", default=0.4, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option("--precision", default="bf16", show_default=True, type=click.Choice(["bf16", "fp32"]))
@click.option(
    "--optimizer",
    default="adamw",
    show_default=True,
    type=click.Choice(["adamw", "adam", "rmsprop", "momentum", "sgd"]),
)
@click.option("--days", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--context", default=2048, show_default=True, type=click.IntRange(1), help="Tokens of one row.")
@json_option
@click.pass_context
def estimate(click_context: click.Context, recipe: str | None, as_json: bool, **options: Any) -> None:
    """Say what the trainings of RECIPE will take, before they start: parameters, memory, operations, time.

    With --params, say how many devices a model of any size needs, and for how long; the other options are for that.

    \b
    Examples:
      modelyard estimate speech_gpt
      modelyard estimate --params 7e9
      modelyard estimate --params 70B --tokens 1.4e12 --device-memory 141GB --days 14
    """
    from flows.pipeline.estimate import (
        answer_summary,
        answer_tables,
        estimate_tables,
        question_of,
        recipe_estimate,
    )
    from flows.telling.output import reporting

    if (recipe is None) == (options["params"] is None):
        raise InputError("name a recipe, or a size with --params, and not both: modelyard estimate RECIPE")
    if recipe is not None:
        given = [name for name in options if is_given(click_context, name)]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} is for --params; what a recipe takes is in params.yaml")
        root = click_context.obj.root
        with reporting(as_json) as report:
            report(recipe_estimate(root, recipe), estimate_tables)
        return
    question = question_of(options)
    from components.estimate.scaling import answer

    with reporting(as_json) as report:
        report(answer_summary(question, answer(question)), answer_tables)


def is_given(context: click.Context, name: str) -> bool:
    """Return whether an option was written on the command line."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option(
    "--stage", type=click.Choice(["finetune", "pretrain"]), help="Whose training. By default the recipe's last."
)
@click.option(
    "--steps",
    default=20,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Steps to time, and as many to record after them.",
)
@json_option
@click.pass_obj
def profile(project: Project, recipe: str, stage: str | None, steps: int, as_json: bool) -> None:
    """Say what the steps of RECIPE's training wait for: data, small operations, products, the optimizer.

    Takes real steps, of which nothing is kept but a trace in observations/RECIPE/profile/, for Perfetto or
    TensorBoard. What the training reads must be there.

    \b
    Examples:
      modelyard run movie_sentiment --until pretrain
      modelyard profile movie_sentiment
      modelyard profile speech_gpt --stage pretrain --steps 50
    """
    from flows.pipeline.profile import profile_summary, profile_tables
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        report(profile_summary(root, recipe, stage=stage, num_steps=steps), profile_tables)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@json_option
@click.pass_obj
def why(project: Project, recipe: str, as_json: bool) -> None:
    """Say which stages of RECIPE would run, and what makes them.

    \b
    Example:
      modelyard why movie_sentiment
    """
    from flows.pipeline.tables import why_summary, why_table
    from flows.pipeline.why import explain
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        report(why_summary(recipe, explain(root, recipe)), why_table)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--refresh", is_flag=True, help="Read the source again, even if nothing here changed.")
@click.option("--force", metavar="STAGE", multiple=True, shell_complete=STAGES, help="Run this stage even if cached.")
@click.option("--until", metavar="STAGE", shell_complete=STAGES, help="Stop after this stage.")
@click.option("--no-wait", is_flag=True, help="If another run holds the recipe, stop instead of waiting.")
@click.option(
    "--tensorboard", is_flag=True, help="Write the curves to observations/RECIPE/tensorboard/ as well, as event files."
)
@json_option
@click.pass_obj
def run(
    project: Project, recipe: str, refresh: bool, force: tuple[str, ...], until: str | None, no_wait: bool,
    tensorboard: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run the stages of RECIPE that have something new to do.

    \b
    Examples:
      modelyard run movie_sentiment
      modelyard run movie_sentiment --until evaluate
      modelyard run movie_sentiment --force finetune
    """
    from components.plumbing.logs import say

    say(f"{recipe}: starting (DVC, Prefect and MLflow take seconds to load)")
    if tensorboard:
        ask_for_event_files()
    from flows.pipeline.tables import run_summary, run_tables
    from flows.servers.tools import prefect_for_a_run
    from flows.telling.output import reporting

    root = project.root
    with prefect_for_a_run(root) as wait_for_prefect, reporting(as_json) as report:
        from flows.pipeline.estimate import foretold_line
        from flows.pipeline.run import run_pipeline  # takes seconds, in which the server starts
        from flows.telling.alerts import alerting

        with alerting(root, recipe, where=f"modelyard run {recipe}", is_by_hand=True):
            if line := foretold_line(root, recipe):
                say(f"{recipe}: {line}")
            outcome = run_pipeline(
                root,
                recipe,
                refresh=refresh,
                force=force,
                until=until,
                wait=not no_wait,
                wait_for_prefect=wait_for_prefect,
            )
        report(run_summary(root, recipe, outcome), run_tables)


def ask_for_event_files() -> None:
    """Have the stages of this process write TensorBoard's event files; InputError where its package is missing."""
    import os

    from components.tracking.tensorboard import VARIABLE, is_wanted

    os.environ[VARIABLE] = "1"
    is_wanted()


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--apply", "is_applied", is_flag=True, help="Write the best settings into params.yaml; comments stay.")
@click.option(
    "--trial",
    "chosen",
    metavar="N",
    type=click.IntRange(0),
    help="Take this trial of the front, in place of the one with the best first objective.",
)
@json_option
@click.pass_obj
def sweep(project: Project, recipe: str, is_applied: bool, chosen: int | None, as_json: bool) -> None:
    """Search better settings of RECIPE, by its section 'sweep' of params.yaml.

    Trials are judged on the validation split; at the end the best settings and the present ones are compared on the
    test split. A sweep that was stopped is carried on, and one that is over costs nothing. Where no trial is within the
    constraints, the exit code is 3.

    \b
    Examples:
      modelyard sweep movie_sentiment
      modelyard sweep movie_sentiment --apply
      modelyard sweep movie_sentiment --apply --trial 7
      optuna-dashboard sqlite:///.modelyard/sweeps/movie_sentiment/STUDY/study.db
    """
    from components.plumbing.logs import say

    say(f"{recipe}: starting (DVC and MLflow take seconds to load)")
    from flows.telling.output import reporting

    root = project.root
    # What is wrong with it is said before anything runs.
    from flows.sweep.settings.apply import apply, check_places
    from flows.sweep.settings.plan import plan_of

    plan = plan_of(root, recipe)
    if is_applied:
        check_places(root, recipe, plan.sweep.space)
    with reporting(as_json) as report:
        from flows.sweep.search import search
        from flows.sweep.tables import sweep_summary, sweep_tables

        found = search(root, recipe, chosen=chosen)
        change = apply(root, recipe, found.changes) if is_applied and found.best is not None else None
        report(sweep_summary(found, change=change), sweep_tables)
        found.check()
