"""Splits that the user's rows come with: in a file of test rows beside the others, or in a column."""

import contextlib
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.ingest.files import without_packing
from components.ingest.reading import literal
from components.params import FileSource
from components.plumbing.errors import ParamsError, SourceError, examples
from components.preprocess.split import NAMES

USUAL = {
    "train": ("train", "training", "trn", "learn", "fit"),
    "validation": ("validation", "valid", "val", "dev", "development", "tune"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "heldout", "held-out", "holdout"),
}
"""The words by which data sets call the splits, in lower case."""


NAMED_BY_FILE = ("train", "test")
"""The splits that two files stand for."""


@dataclass(frozen=True)
class Given:
    """A split that the rows come with."""

    sql: str
    """The SQL of the column `split` of the recipe's query."""
    column: str | None
    """The column of the file that says it; None where the file of a row does."""


def by_file(train: str, test: str) -> Given:
    """Return the split by the name of a row's file."""
    return Given(f"CASE filename WHEN {literal(test)} THEN 'test' WHEN {literal(train)} THEN 'train' END", None)


def by_column(column: str, values: Mapping[str, int]) -> Given:
    """Return the split by a column, whose values and their numbers of rows are given; SourceError where they name no
    splits."""
    meant = {value: name for value in values for name, words in USUAL.items() if value.strip().lower() in words}
    foreign = [value for value in values if value not in meant]
    lost = [name for name in ("train", "test") if name not in meant.values()]
    if foreign or lost:
        number = sum(values[value] for value in foreign)
        what = f"holds {examples(foreign)} in {number:,} rows" if foreign else f"says '{lost[0]}' in no row"
        raise SourceError(
            f"--split: column '{column}' {what}; each row must say {', '.join(NAMES)} there (dev, valid and the like "
            "are understood): mend the file, or write the recipe's query by hand"
        )
    text = f"as_text({identifier(column)})"
    if all(value == name for value, name in meant.items()):
        return Given(text, column)
    cases = " ".join(f"WHEN {literal(value)} THEN '{name}'" for value, name in meant.items())
    return Given(f"CASE {text} {cases} END", column)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def names_of(data: Path, test: Path) -> dict[str, str]:
    """Return the names that the two files have beside each other; SourceError where they are one file, or their names
    end in different ways."""
    if data.resolve() == test.resolve():
        raise SourceError("--data and --test are the same file; each of training and test needs rows of its own")
    endings = [path.name.removeprefix(without_packing(path).stem) for path in (data, test)]
    if endings[0] != endings[1]:
        raise SourceError(
            f"--data ends in '{endings[0]}' and --test in '{endings[1]}'; both must be of one format, with the same "
            "columns: convert one of them"
        )
    return {"train": f"train{endings[0]}", "test": f"test{endings[0]}"}


def linked(folder: Path, files: Mapping[str, Path], *, root: Path | None = None) -> FileSource:
    """Make a folder with a link to each file, by name, and return the source of its files; links within `root` are
    relative. ParamsError where the folder is there."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ParamsError(f"{folder} is there already; move it away, or choose another name for the recipe") from error
    for name, path in files.items():
        is_within = root is not None and path.is_relative_to(root)
        (folder / name).symlink_to(os.path.relpath(path, folder) if is_within else path)
    ending = next(iter(files)).partition(".")[2]
    return FileSource(kind="file", path=str(folder), pattern=f"*.{ending}")


@contextlib.contextmanager
def undone(folder: Path | None) -> Generator[None]:
    """Remove the folder of links where the block fails."""
    try:
        yield
    except BaseException:
        if folder is not None:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        raise
