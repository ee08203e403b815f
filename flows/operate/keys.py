"""The project's file of keys, with which clients may use a service that other machines can reach; see
serving/requests/keys.py."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from components.plumbing.errors import InputError
from flows.telling.output import plain_table

SOON = timedelta(days=14)


def keys_file(root: Path) -> Path:
    """Return the path of the file that keeps the keys, as hashes."""
    return root / ".modelyard" / "keys.json"


def has_keys(root: Path) -> bool:
    """Return whether any client has a key; InputError where the file cannot be read."""
    from serving.requests.keys import load_keys

    with explained():
        return bool(load_keys(keys_file(root)))


@contextmanager
def explained() -> Generator[None]:
    """Raise InputError, an error of the command, for a KeysError of the block."""
    from serving.requests.keys import KeysError

    try:
        yield
    except KeysError as error:
        raise InputError(str(error)) from error


def until_of(expires: str | None) -> str:
    """Return until when a key is good, and whether that is over or near."""
    if expires is None:
        return "removed"
    left = datetime.fromisoformat(expires) - datetime.now(UTC)
    if left <= timedelta(0):
        return f"{expires} (expired)"
    return f"{expires} (soon)" if left <= SOON else expires


def ending_keys(root: Path) -> list[str]:
    """Return the clients whose key has expired or soon will, with when; InputError where the file cannot be read."""
    from serving.requests.keys import load_keys

    with explained():
        until = {key.client: until_of(key.expires) for key in load_keys(keys_file(root))}
    return [f"{client} {end}" for client, end in until.items() if end.endswith(")")]


def keys_table(data: dict[str, Any], console: Console) -> None:
    table = plain_table("client", "may", "requests a minute", "id", "since", "until")
    keys: Sequence[dict[str, Any]] = data["keys"]
    for key in keys:
        table.add_row(
            key["client"],
            ", ".join(key["scopes"]),
            str(key["per_minute"]),
            key["id"],
            key["added"],
            until_of(key["expires"]),
        )
    console.print(table if keys else "nobody has a key; 'modelyard keys add CLIENT' makes one")
