"""Who may ask a service that other machines can reach: the file of keys, as serving/requests/keys.py reads it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from components.plumbing.errors import InputError
from flows.telling.output import plain_table


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


def keys_table(data: dict[str, Any], console: Console) -> None:
    table = plain_table("client", "may", "requests a minute", "id", "since")
    keys: Sequence[dict[str, Any]] = data["keys"]
    for key in keys:
        table.add_row(key["client"], ", ".join(key["scopes"]), str(key["per_minute"]), key["id"], key["added"])
    console.print(table if keys else "nobody has a key; 'modelyard keys add CLIENT' makes one")
