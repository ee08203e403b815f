"""CSV whose lines end in several ways, as files do to which another program has added rows, written anew with one.

A line ends in LF, in CR LF, or in several CR and LF, as where a tool has put CR before CR LF. A CR by itself is a part
of the text, since it ends no line where others end in LF.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TextIO

from components.params import CsvFormat
from components.plumbing.errors import SourceError
from components.sources import Fetched

LONE = re.compile("\r(?!\n)")
KEPT = "\U0010fffe"
"""The character that stands for a CR within a line; Unicode assigns it to nothing."""
END = "\r\n"
"""With this end, Python's writer quotes a text that holds one of the two."""
PLAIN = {"quote": '"', "escape": None, "encoding": "utf-8"}


def even(fetched: Fetched, form: CsvFormat, folder: Path, *, max_bytes: int) -> tuple[Fetched, CsvFormat]:
    """Write the files, which are UTF-8, anew below `folder`; return them, and the format that they have now.

    Raises SourceError where a file cannot be read as records even so.
    """
    paths: list[Path] = []
    limit = csv.field_size_limit(max_bytes)
    try:
        for path in fetched.paths:
            target = folder / path.relative_to(fetched.top)
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                path.open(encoding="utf-8", newline="\n") as source,
                target.open("w", encoding="utf-8", newline="") as file,
            ):
                file.writelines(line.rstrip("\r\n") + END for line in islice(source, form.skip))
                write_records(source, file, form, path.name)
            paths.append(target)
    finally:
        csv.field_size_limit(limit)
    return replace(fetched, paths=tuple(paths), top=folder), form.model_copy(update=PLAIN)


def write_records(source: TextIO, file: TextIO, form: CsvFormat, name: str) -> None:
    """Write each record of `source` on lines of its own."""
    records = csv.reader(
        lines_of(source), delimiter=form.delimiter, quotechar=form.quote or None, escapechar=form.escape,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE, doublequote=form.escape is None,
    )  # fmt: skip
    writer = csv.writer(file, delimiter=form.delimiter, lineterminator=END)
    try:
        for record in records:
            if not record:
                file.write(END)
                continue
            *others, last = record
            writer.writerow([*(text.replace(KEPT, "\r") for text in others), last.rstrip(KEPT).replace(KEPT, "\r")])
    except csv.Error as error:
        raise SourceError(
            f"{name} has lines that end in different ways, and cannot be read at line {form.skip + records.line_num}: "
            f"{error}; write it anew with one kind of ends, and texts with line breaks in quotes"
        ) from error


def lines_of(source: TextIO) -> Iterator[str]:
    for line in source:
        yield LONE.sub(KEPT, line) if "\r" in line else line
