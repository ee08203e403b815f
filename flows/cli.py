"""The `modelyard` command: what it offers, and how errors end it. What a command does is in the module that it calls.

Nothing heavy is imported before a command needs it, so that `--help` and completion answer at once.
"""

import errno
import gc
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from components.errors import InputError, ModelyardError
from flows.keys import keys

F = TypeVar("F", bound=Callable[..., Any])
INTERRUPTED = 130
# What the machine refuses, and its own words say whole.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# The tools that are joined here make a million objects on import, and Python's defaults look for garbage among them
# hundreds of times: a tenth of a run in which nothing has changed.
GC_THRESHOLD = (100_000, 50, 50)


@dataclass
class Project:
    """Where the command works; found when it is first needed."""

    folder: Path | None

    @property
    def root(self) -> Path:
        """The project's folder, with the environment prepared for it."""
        from components.environment import prepare_environment

        root = find_project(self.folder or Path.cwd())
        prepare_environment(root)
        return root


def find_project(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that holds dvc.yaml and params.yaml."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            return folder
    raise InputError(
        f"{start} is not in a project: neither it nor a folder above it holds dvc.yaml and params.yaml; "
        "go to the project's folder, or name it: modelyard --project FOLDER ..."
    )


def names_in(file: str, section: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A completion: the keys of one section of a file of the project."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del parameter
        from ruamel.yaml import YAML

        try:
            root = find_project(context.find_root().params.get("project") or Path.cwd())
            names = YAML(typ="safe").load(root / file)[section]
        except Exception:  # half a command, or a broken file: there is nothing to offer, and nowhere to say so
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


RECIPES = names_in("params.yaml", "recipes")
STAGES = names_in("dvc.yaml", "stages")


def json_option(command: F) -> F:
    """`--json`, for every command that reports."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")(
        command
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A project's folder. By default the one that holds the working folder.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="modelyard")
@click.pass_context
def cli(context: click.Context, project: Path | None, debug: bool) -> None:
    """Carry a model from raw rows to a served, measured bundle.

    \b
    Examples:
      modelyard run movie_sentiment       all stages, from rows to bundle
      modelyard serve movie_sentiment     serve the bundle on this machine
      modelyard new tickets --data tickets.csv --text body --label team
    """
    from components.logs import configure_logging

    context.obj = Project(project)
    configure_logging(debug=debug)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--refresh", is_flag=True, help="Read the source again, even if nothing here changed.")
@click.option("--force", metavar="STAGE", multiple=True, shell_complete=STAGES, help="Run this stage even if cached.")
@click.option("--until", metavar="STAGE", shell_complete=STAGES, help="Stop after this stage.")
@click.option("--no-wait", is_flag=True, help="If another run holds the recipe, stop instead of waiting.")
@json_option
@click.pass_obj
def run(
    project: Project, recipe: str, refresh: bool, force: tuple[str, ...], until: str | None, no_wait: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Run the stages of RECIPE that have something new to do.

    \b
    Examples:
      modelyard run movie_sentiment
      modelyard run movie_sentiment --until evaluate
      modelyard run movie_sentiment --force finetune
    """
    from flows.reporting import reporting, run_summary, run_tables
    from flows.servers import prefect_for_a_run

    root = project.root
    with prefect_for_a_run(root) as prefect_is_up, reporting(as_json) as report:
        from flows.pipeline import run_pipeline  # takes seconds, in which the server starts

        outcome = run_pipeline(
            root, recipe, refresh=refresh, force=force, until=until, wait=not no_wait, prefect_is_up=prefect_is_up
        )
        report(run_summary(root, recipe, outcome), run_tables)


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
    from flows.reporting import reporting, why_summary, why_table
    from flows.why import explain

    root = project.root
    with reporting(as_json) as report:
        report(why_summary(recipe, explain(root, recipe)), why_table)


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
    from flows.estimate import (
        answer_summary,
        answer_tables,
        estimate_summary,
        estimate_tables,
        question_of,
        recipe_estimate,
    )
    from flows.reporting import reporting

    if (recipe is None) == (options["params"] is None):
        raise InputError("name a recipe, or a size with --params, and not both: modelyard estimate RECIPE")
    if recipe is not None:
        given = [name for name in options if is_given(click_context, name)]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} is for --params; what a recipe takes is in params.yaml")
        root = click_context.obj.root
        with reporting(as_json) as report:
            report(estimate_summary(recipe_estimate(root, recipe)), estimate_tables)
        return
    question = question_of(options)
    from components.estimate.scaling import answer

    with reporting(as_json) as report:
        report(answer_summary(question, answer(question)), answer_tables)


def is_given(context: click.Context, name: str) -> bool:
    """Whether an option was written out."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


@cli.command()
@click.argument("name")
@click.option(
    "--data", required=True, metavar="FILE", type=click.Path(path_type=Path), help="csv, tsv, jsonl or parquet."
)
@click.option("--text", required=True, metavar="COLUMN", help="The column that holds the texts.")
@click.option("--label", required=True, metavar="COLUMN", help="The column that holds the classes.")
@click.option(
    "--encoder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An encoder with its tokenizer. By default MiniLM, which knows English.",
)
@json_option
@click.pass_obj
def new(project: Project, name: str, data: Path, text: str, label: str, encoder: Path | None, as_json: bool) -> None:
    """Add recipe NAME for your own rows to params.yaml.

    The data contract, the split and the training settings are proposed from the rows that are there; the recipe says
    in comments what each was chosen by.

    \b
    Example:
      modelyard new tickets --data tickets.csv --text body --label team
      modelyard run tickets
    """
    from flows.new import add_recipe
    from flows.reporting import new_notes, new_summary, reporting

    root = project.root
    with reporting(as_json) as report:
        added = add_recipe(root, name, data=data.absolute(), text=text, label=label, encoder=encoder)
        report(new_summary(added), new_notes)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Judge the last N answered texts or arrays.")
@click.option("--since", metavar="TIME", help="Judge what was answered since then: 2026-11-22T06:00, in UTC.")
@json_option
@click.pass_obj
def monitor(project: Project, recipe: str, last: int | None, since: str | None, as_json: bool) -> None:
    """Compare the traffic of RECIPE's service with what its model was made from.

    Drift starts a retraining where the recipe says so, and ends the command with exit code 3; so does a service outside
    of its limits.

    \b
    Examples:
      modelyard monitor movie_sentiment
      modelyard monitor movie_sentiment --since 2026-11-22T06:00
    """
    from flows.reporting import reporting

    root, start = project.root, time_of(since)
    with reporting(as_json) as report:
        from flows.monitor import monitor_recipe, monitor_summary, monitor_tables

        outcome = monitor_recipe(root, recipe, last=last, since=start)
        report(monitor_summary(outcome), monitor_tables)
    if outcome.verdict.state in ("drift", "degraded"):
        raise click.exceptions.Exit(3)


def time_of(text: str | None) -> datetime | None:
    """A time as ISO 8601 has it, in UTC where it names no zone."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--since is '{text}'; it must be a time such as 2026-11-22T06:00 or 2026-11-22") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other address asks every client for its key.")
@click.pass_obj
def serve(project: Project, recipe: str, port: int, host: str) -> None:
    """Serve the packaged model of RECIPE on this machine, until Ctrl-C.

    \b
    Example:
      modelyard serve movie_sentiment
      curl -s http://127.0.0.1:3000/classify -H 'content-type: application/json' -d '{"texts": ["What a film!"]}'
    """
    from flows.servers import serve_recipe

    serve_recipe(project.root, recipe, port=port, host=host)


cli.add_command(keys)


@cli.command()
@click.option("--mlflow-port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--prefect-port", default=4200, show_default=True, type=click.IntRange(1, 65535))
@click.pass_obj
def ui(project: Project, mlflow_port: int, prefect_port: int) -> None:
    """Start the web pages of MLflow and Prefect on 127.0.0.1, until Ctrl-C.

    \b
    Example:
      modelyard ui
    """
    from flows.servers import open_ui

    open_ui(project.root, mlflow_port=mlflow_port, prefect_port=prefect_port)


def port_options(command: F) -> F:
    """The ports of the servers that `up` starts, for every command that looks at them."""
    for name, default in (("prefect", 4200), ("mlflow", 5000)):
        command = click.option(
            f"--{name}-port", default=default, show_default=True, type=click.IntRange(1, 65535),
            envvar=f"MODELYARD_{name.upper()}_PORT", show_envvar=True,
        )(command)  # fmt: skip
    return command


@cli.command()
@port_options
@json_option
@click.pass_obj
def up(project: Project, mlflow_port: int, prefect_port: int, as_json: bool) -> None:
    """Start MLflow, Prefect, the schedules and the recipes with 'serve: true', in the background, on 127.0.0.1.

    What runs already is left as it is.

    \b
    Example:
      modelyard up
    """
    from flows.reporting import reporting, up_summary, up_table
    from flows.up import bring_up

    root = project.root
    with reporting(as_json) as report:
        data = up_summary(bring_up(root, mlflow_port=mlflow_port, prefect_port=prefect_port))
        report(data, up_table)
    if not data["is_well"]:
        raise click.exceptions.Exit(1)


@cli.command()
@port_options
@json_option
@click.pass_obj
def status(project: Project, mlflow_port: int, prefect_port: int, as_json: bool) -> None:
    """Say what 'modelyard up' runs, where, which version, and whether it is well: 1 is the exit code if it is not.

    \b
    Example:
      modelyard status
    """
    from flows.reporting import reporting, up_summary, up_table
    from flows.up import look

    root = project.root
    with reporting(as_json) as report:
        data = up_summary(look(root, mlflow_port=mlflow_port, prefect_port=prefect_port))
        report(data, up_table)
    if not data["is_well"]:
        raise click.exceptions.Exit(1)


@cli.command()
@json_option
@click.pass_obj
def down(project: Project, as_json: bool) -> None:
    """Stop what 'modelyard up' started: each finishes what it has, and is killed if it does not end.

    \b
    Example:
      modelyard down
    """
    from flows.reporting import down_lines, down_summary, reporting
    from flows.up import bring_down

    root = project.root
    with reporting(as_json) as report:
        report(down_summary(bring_down(root)), down_lines)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--version", "number", metavar="N", type=click.IntRange(1), help="By default the challenger.")
@click.option("--withdraw", is_flag=True, help="End the trial without a verdict.")
@click.pass_obj
def canary(project: Project, recipe: str, number: int | None, withdraw: bool) -> None:
    """Try the challenger of RECIPE beside its champion, on a share of the real requests.

    How is said by 'service.canary' in params.yaml. It is promoted when its requests passed without a regression, and
    dropped when there is one; 'modelyard status' shows how it does.

    \b
    Example:
      modelyard canary movie_sentiment
    """
    from flows.up import challengers

    root = project.root
    if withdraw:
        click.echo("withdrawn" if challengers.withdraw(root, recipe) else "no trial was asked for")
        return
    version = challengers.challenge(root, recipe, number=number)
    click.echo(f"version {version.number} ({version.tag}) is tried where 'modelyard up' serves {recipe}")


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--version", "number", metavar="N", type=click.IntRange(1), help="By default the challenger.")
@click.option("--force", metavar="REASON", help="Do not compare; the ledger keeps why.")
@json_option
@click.pass_obj
def promote(project: Project, recipe: str, number: int | None, force: str | None, as_json: bool) -> None:
    """Make the challenger of RECIPE the champion, if it is not worse on the same held-out rows.

    \b
    Examples:
      modelyard promote movie_sentiment
      modelyard promote movie_sentiment --version 3 --force "the old one leaks memory"
    """
    from components.promotion.decide import promote as decide
    from flows.promotion import decision_lines, decision_summary
    from flows.reporting import reporting

    root = project.root
    with reporting(as_json) as report:
        decision = decide(root, recipe, number=number, force=force, through="modelyard promote")
        report(decision_summary(decision), decision_lines)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--to", "number", metavar="N", type=click.IntRange(1), help="By default the champion before this one.")
@click.option("--reason", default="", help="The ledger keeps it.")
@json_option
@click.pass_obj
def rollback(project: Project, recipe: str, number: int | None, reason: str, as_json: bool) -> None:
    """Make an earlier version of RECIPE the champion again, in seconds.

    \b
    Examples:
      modelyard rollback movie_sentiment
      modelyard rollback movie_sentiment --to 2 --reason "version 3 answers in the wrong language"
    """
    from components.promotion.decide import rollback as decide
    from flows.promotion import decision_lines, decision_summary
    from flows.reporting import reporting

    root = project.root
    with reporting(as_json) as report:
        decision = decide(root, recipe, number=number, through="modelyard rollback", reason=reason)
        report(decision_summary(decision), decision_lines)


@cli.command()
@click.argument("recipe", required=False, shell_complete=RECIPES)
@json_option
@click.pass_obj
def ledger(project: Project, recipe: str | None, as_json: bool) -> None:
    """Show who made which version the champion, when and why; and whether a line was changed since.

    \b
    Examples:
      modelyard ledger
      modelyard ledger movie_sentiment --json
    """
    from components.recipes import load_recipe
    from flows.promotion import check_ledger, ledger_summary, ledger_table
    from flows.reporting import reporting

    root = project.root
    if recipe is not None:
        load_recipe(root, recipe)
    with reporting(as_json) as report:
        data = ledger_summary(root, recipe)
        report(data, ledger_table)
    check_ledger(data)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--limit", "limit_s", metavar="SECONDS", type=click.IntRange(1), help="By default schedule.limit_s.")
@click.option("--cause", default="by hand", show_default=True, help="Why, for the ledger.")
@json_option
@click.pass_obj
def retrain(project: Project, recipe: str, limit_s: int | None, cause: str, as_json: bool) -> None:
    """Train RECIPE again if its source has something new, and promote what came of it if it is not worse.

    \b
    Example:
      modelyard retrain movie_sentiment
    """
    from flows.reporting import reporting
    from flows.servers import prefect_for_a_run

    root = project.root
    with prefect_for_a_run(root) as prefect_is_up, reporting(as_json) as report:
        from flows.promotion import retrain_lines, retrain_summary
        from flows.retrain import run_retrain  # takes seconds, in which the server starts

        done = run_retrain(root, recipe, cause=cause, limit_s=limit_s, prefect_is_up=prefect_is_up)
        report(retrain_summary(done), retrain_lines)


@cli.command()
@click.pass_obj
def worker(project: Project) -> None:
    """Run what params.yaml schedules, when it is due, until Ctrl-C. It needs a Prefect server: 'modelyard ui' has one.

    \b
    Example:
      modelyard worker
    """
    from flows.deployments import serve_schedules

    serve_schedules(project.root)


@cli.command()
@click.argument("pool")
@json_option
@click.pass_obj
def deploy(project: Project, pool: str, as_json: bool) -> None:
    """Put what params.yaml schedules on the work POOL of a Prefect server of your own (PREFECT_API_URL).

    \b
    Examples:
      prefect work-pool create team --type process
      modelyard deploy team
      prefect worker start --pool team          in this project's folder, on any machine
    """
    from flows.deployments import deploy_schedules
    from flows.promotion import deployed_lines
    from flows.reporting import reporting

    root = project.root
    with reporting(as_json) as report:
        report(deploy_schedules(root, pool=pool), deployed_lines)


@cli.command()
@json_option
@click.pass_obj
def doctor(project: Project, as_json: bool) -> None:
    """Check this machine and project, and say how to mend what is wrong.

    \b
    Example:
      modelyard doctor
    """
    from flows.doctor import examine
    from flows.reporting import doctor_summary, doctor_table, reporting

    root = project.root
    with reporting(as_json) as report:
        checks = examine(root)
        report(doctor_summary(checks), doctor_table)
    if any(check.state == "fail" for check in checks):
        raise click.exceptions.Exit(1)


@cli.command()
@json_option
@click.pass_obj
def recipes(project: Project, as_json: bool) -> None:
    """List the recipes of this project, and how far each has come.

    \b
    Example:
      modelyard recipes
    """
    from flows.reporting import recipes_summary, recipes_table, reporting

    root = project.root
    with reporting(as_json) as report:
        report(recipes_summary(root), recipes_table)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, recipes and stages.

    \b
    Examples:
      eval "$(modelyard completion bash)"      in ~/.bashrc
      eval "$(modelyard completion zsh)"       in ~/.zshrc
      modelyard completion fish > ~/.config/fish/completions/modelyard.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "modelyard", "_MODELYARD_COMPLETE").source())


def explained(error: Exception) -> str:
    """An error that is not one of ours: what the machine refused, or else a fault."""
    if isinstance(error, OSError) and error.errno in REFUSED and error.filename:
        return f"{error.filename}: {error.strerror}; mend that and run again ('modelyard doctor' checks every place)"
    said = " ".join(str(error).split())[:300]
    return f"a fault of its own: {type(error).__name__}: {said}; --debug shows where"


def main(argv: list[str] | None = None) -> None:
    """Run the command and end the process: 0 done, 1 failed, 2 bad input, 3 failed gate, 130 interrupted."""
    gc.set_threshold(*GC_THRESHOLD)
    args = sys.argv[1:] if argv is None else argv
    is_debug = "--debug" in args
    try:
        code = cli.main(args, prog_name="modelyard", standalone_mode=False)
    except ModelyardError as error:
        if is_debug:
            traceback.print_exc()
        click.echo(f"modelyard: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("modelyard: interrupted", err=True)
        code = INTERRUPTED
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        click.echo(f"modelyard: {explained(error)}", err=True)
        code = 1
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
