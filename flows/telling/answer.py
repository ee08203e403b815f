"""The one object that a command with `--json` leaves on standard output, whatever becomes of it.

A report is kept until the command ends. Where it ends with an error, the object holds that, too: `error` (one line),
`kind`, `exit_code`, `is_transient`; of a stage that stopped, `stage`; of a failed gate, `report`, what it judged or the
path of that. Without an error none of these keys is there.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from components.plumbing.errors import GateError, ModelyardError

OPTION = "--json"

Data = dict[str, Any]


class KeptReport:
    """The report that this process is to write, if it has one."""

    kept: Data | None = None


def is_asked_for(args: Sequence[str]) -> bool:
    """Return whether the words of a command ask for JSON, even where nothing else of them can be read."""
    before = list(args)[: list(args).index("--")] if "--" in args else args
    return OPTION in before


def keep(data: Data) -> None:
    """Keep a command's report, which is written once it is known how the command ends."""
    KeptReport.kept = data


def write(error: Data | None = None) -> None:
    """Write the kept report, with the error, as one object."""
    kept, KeptReport.kept = KeptReport.kept, None
    if kept is None and error is None:
        return
    sys.stdout.write(json.dumps((kept or {}) | (error or {}), indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def error_data(error: BaseException, message: str, code: int) -> Data:
    """Return an error as data."""
    is_transient = isinstance(error, ModelyardError) and error.is_transient
    data: Data = {"error": message, "kind": kind_of(error), "exit_code": code, "is_transient": is_transient}
    if isinstance(error, GateError):
        data["report"] = error.report
    for name in ("stage", "report"):  # of a StageError, which is known only where a stage ran
        value = getattr(error, name, None)
        if value and name not in data:
            data[name] = str(value)
    return data


def kind_of(error: BaseException) -> str:
    """Return the kind of an error in one word: the name of its class, or `UsageError` or `Interrupted`."""
    if isinstance(error, ModelyardError):
        return error.kind
    if isinstance(error, click.exceptions.ClickException):
        return "UsageError"
    return "Interrupted" if isinstance(error, KeyboardInterrupt | click.Abort) else type(error).__name__
