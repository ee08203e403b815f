"""keys: who may ask a service that other machines can reach. The commands; serving/requests/keys.py is their file."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from components.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


class Project(Protocol):
    @property
    def root(self) -> Path: ...


@click.group()
def keys() -> None:
    """Who may ask a service that other machines can reach: a key for each client.

    \b
    Examples:
      modelyard keys add shop
      modelyard serve movie_sentiment --host 0.0.0.0
      curl -s http://ADDRESS:3000/classify -H "authorization: Bearer KEY" ...
    """


@keys.command()
@click.argument("client")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("predict", "feedback"),
    show_default=True,
    type=click.Choice(["predict", "feedback", "admin"]),
    help="What it may do; may be given several times.",
)
@click.option("--per-minute", default=600, show_default=True, type=click.IntRange(1), help="Requests.")
@click.pass_obj
def add(project: Project, client: str, scopes: tuple[str, ...], per_minute: int) -> None:
    """Make a key for CLIENT and print it, once: only its hash is kept.

    \b
    Examples:
      modelyard keys add shop
      modelyard keys add monitoring --scope admin --per-minute 60
    """
    from serving.requests.keys import add_key

    with explained():
        click.echo(add_key(keys_file(project.root), client, scopes=scopes, per_minute=per_minute))
    click.echo(f"That is the key of '{client}'; it cannot be shown again.", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")
@click.pass_obj
def list_keys(project: Project, as_json: bool) -> None:
    """List who has a key, and what for.

    \b
    Example:
      modelyard keys list
    """
    from flows.reporting import reporting
    from serving.requests.keys import load_keys

    file = keys_file(project.root)
    with reporting(as_json) as report, explained():
        shown = ("client", "id", "scopes", "per_minute", "added")
        report({"keys": [{name: getattr(key, name) for name in shown} for key in load_keys(file)]}, keys_table)


@keys.command()
@click.argument("client")
@click.pass_obj
def remove(project: Project, client: str) -> None:
    """Take the key of CLIENT away; a service that runs refuses it within a second.

    \b
    Example:
      modelyard keys remove shop
    """
    from serving.requests.keys import remove_key

    with explained():
        remove_key(keys_file(project.root), client)
    click.echo(f"'{client}' has no key any more", err=True)


def keys_file(root: Path) -> Path:
    """Where the keys are kept, as hashes."""
    return root / ".modelyard" / "keys.json"


def has_keys(root: Path) -> bool:
    """Whether anybody has a key; InputError where the file cannot be read."""
    from serving.requests.keys import load_keys

    with explained():
        return bool(load_keys(keys_file(root)))


@contextmanager
def explained() -> Generator[None]:
    """What is wrong with the keys, as the error of a command."""
    from serving.requests.keys import KeysError

    try:
        yield
    except KeysError as error:
        raise InputError(str(error)) from error


def keys_table(data: dict[str, Any], console: "Console") -> None:
    from flows.reporting import plain_table

    table = plain_table("client", "may", "requests a minute", "id", "since")
    keys: Sequence[dict[str, Any]] = data["keys"]
    for key in keys:
        table.add_row(key["client"], ", ".join(key["scopes"]), str(key["per_minute"]), key["id"], key["added"])
    console.print(table if keys else "nobody has a key; 'modelyard keys add CLIENT' makes one")
