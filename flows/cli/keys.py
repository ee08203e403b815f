"""keys: the commands that make, list and remove the keys of clients; serving/requests/keys.py keeps their file."""

import click

from flows.cli.group import Project


@click.group()
def keys() -> None:
    """Manage the keys with which clients may use a service that other machines can reach.

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
@click.option(
    "--expires", type=click.IntRange(1, 3650), metavar="DAYS", help="The days after which it is refused; else never."
)
@click.pass_obj
def add(project: Project, client: str, scopes: tuple[str, ...], per_minute: int, expires: int | None) -> None:
    """Make a key for CLIENT and print it, once: only its hash is kept.

    \b
    Examples:
      modelyard keys add shop
      modelyard keys add monitoring --scope admin --per-minute 60
      modelyard keys add guest --expires 90
    """
    from datetime import timedelta

    from flows.operate.keys import explained, keys_file
    from serving.requests.keys import add_key

    with explained():
        good_for = None if expires is None else timedelta(days=expires)
        file = keys_file(project.root)
        click.echo(add_key(file, client, scopes=scopes, per_minute=per_minute, good_for=good_for))
    click.echo(f"That is the key of '{client}'; it cannot be shown again.", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")
@click.pass_obj
def list_keys(project: Project, as_json: bool) -> None:
    """List the clients that have a key, and what each may do.

    \b
    Example:
      modelyard keys list
    """
    from flows.operate.keys import explained, keys_file, keys_table
    from flows.telling.output import reporting
    from serving.requests.keys import load_keys

    file = keys_file(project.root)
    with reporting(as_json) as report, explained():
        shown = ("client", "id", "scopes", "per_minute", "added", "expires")
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
    from flows.operate.keys import explained, keys_file
    from serving.requests.keys import remove_key

    with explained():
        remove_key(keys_file(project.root), client)
    click.echo(f"'{client}' has no key any more", err=True)
