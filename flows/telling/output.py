"""The output of commands: a report as plain data (for --json), or as tables for a person."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from components.plumbing.logs import clear_note
from flows.telling.answer import keep

Data = dict[str, Any]
Render = Callable[[Data, Console], None]
STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "ran": "bold", "cached": "dim",
          "starting": "yellow", "waiting": "yellow", "stopped": "dim", "degraded": "red", "down": "red",
          "crashed": "red", "refused": "red"}  # fmt: skip
PLAIN_WIDTH = 120


@contextmanager
def reporting(as_json: bool) -> Generator[Callable[[Data, Render], None]]:
    """Keep standard output for the report: whatever else is written there, by any library, goes to standard error.

    As JSON the report is written when the command has ended, with the error that it may end with.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def report(data: Data, render: Render) -> None:
        if as_json:
            keep(data)
            return
        clear_note()
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as out:
            render(data, Console(file=out, width=None if out.isatty() else PLAIN_WIDTH, highlight=False))

    try:
        yield report
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
