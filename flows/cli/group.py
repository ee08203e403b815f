"""The command's group, the project that it works on, and the options that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from components.plumbing.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Project:
    """The project that a command works on; its folder is looked for when it is first needed."""

    folder: Path | None

    @property
    def root(self) -> Path:
        """The project's folder, with the environment prepared for it."""
        from components.plumbing.environment import prepare_environment
        from components.plumbing.last_good import bring_back
        from components.tracking.place import follow_move

        root = find_project(self.folder or Path.cwd())
        prepare_environment(root)
        bring_back(root)  # what a stage that was killed has left without an artifact
        follow_move(root)
        return root


def find_project(start: Path) -> Path:
    """Return the nearest folder, from `start` upwards, that holds dvc.yaml and params.yaml;
    InputError where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            return folder
    raise InputError(
        f"{start} is not in a project: neither it nor a folder above it holds dvc.yaml and params.yaml; "
        "go to the project's folder, or name it: modelyard --project FOLDER ..."
    )


def names_in(file: str, section: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a shell completion that offers the keys of one section of a file of the project."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del parameter
        from components.plumbing.yaml_file import read_yaml

        try:
            root = find_project(context.find_root().params.get("project") or Path.cwd())
            names = read_yaml(root / file)[section]
        except Exception:  # half a command, or a broken file: there is nothing to offer, and nowhere to say so
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


RECIPES = names_in("params.yaml", "recipes")
STAGES = names_in("dvc.yaml", "stages")


def json_option(command: F) -> F:
    """Add `--json` to a command that prints a report."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")(
        command
    )


def port_options(command: F) -> F:
    """Add the options for the ports of the servers that `up` starts; each value is None where it is not given."""
    for name, default in (("prefect", 4200), ("mlflow", 5000)):
        command = click.option(
            f"--{name}-port", show_default=f"{default}, or where it was", type=click.IntRange(1, 65535),
            envvar=f"MODELYARD_{name.upper()}_PORT", show_envvar=True,
        )(command)  # fmt: skip
    return command


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
    from components.plumbing.logs import configure_logging, note

    context.obj = Project(project)
    configure_logging(debug=debug)
    command = cli.commands.get(context.invoked_subcommand or "")
    if command and any(parameter.name == "as_json" for parameter in command.params):
        note(f"modelyard {command.name} …")  # what it needs takes seconds to load
