"""The verdict in words: a table on the terminal, and one line for each failed expectation."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.validate.expectations import percent
from components.validate.judging import Judged

ONE = {"rows": "row", "texts": "text", "arrays": "array", "classes": "class"}
HOLDS, FAILED = "ok", "FAILED"
LOOKS = {HOLDS: "green", FAILED: "bold red"}

# Columns of the printed table where standard error is no terminal.
WIDTH = 120


def show(judged: Sequence[Judged]) -> None:
    """Print the verdict on standard error: which expectations hold, the findings, and examples."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    table = Table(title=f"data contract: {heading(judged)}", title_justify="left", box=None, pad_edge=False)
    for name in ("", "expectation", "found", "examples and advice"):
        table.add_column(name, overflow="fold")
    for mark, *cells in rows_of(judged):
        table.add_row(Text(mark, style=LOOKS[mark]), *map(Text, cells))
    console.print(table)


def heading(judged: Sequence[Judged]) -> str:
    num_failed = sum(not one.success for one in judged)
    return (
        f"{num_failed} of {len(judged)} expectations failed" if num_failed else f"all {len(judged)} expectations hold"
    )


def rows_of(judged: Sequence[Judged]) -> list[tuple[str, str, str, str]]:
    """Return one row per expectation: ok or FAILED, the expectation, the finding, and the examples and advice on lines
    of their own."""
    return [
        (
            HOLDS if one.success else FAILED,
            one.expected,
            found(one),
            "\n".join([*one.examples, *([one.advice] if one.advice else [])]),
        )
        for one in judged
    ]


def found(one: Judged) -> str:
    """Return the finding in words, else the number of rows at fault, tolerated ones included."""
    if one.found or one.num_unexpected is None:
        return one.found
    share = "" if one.share is None else f" ({percent(one.share)})"
    noun = ONE[one.table] if one.num_unexpected == 1 else one.table
    return f"{one.num_unexpected} {noun}{share}"


def line_of(one: Judged) -> str:
    """Return a line such as `expected …, found 12 rows (0.12%), for example … (how to mend it)`."""
    seen = ", for example ".join(part for part in (found(one), ", ".join(one.examples)) if part)
    return f"expected {one.expected}, found {seen} ({one.advice})"
