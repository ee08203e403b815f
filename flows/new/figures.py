"""The figures of a user's rows that a recipe is proposed from, read just as the stage `ingest` reads them."""

import itertools
import shlex
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.estimate.lengths import DENSE, SPECIAL_TOKENS, TOKENS_PER_WORD, WORDS
from components.ingest.reading import MIXED, Loaded, literal, load
from components.ingest.session import first_line, session
from components.params import CsvFormat, FileSource, PlainFormat
from components.plumbing.errors import SourceError, did_you_mean, examples
from components.preprocess.split import NAMES
from components.sources import fetch
from flows.new.given import NAMED_BY_FILE, Given, by_column, identifier
from serving.predictors.text import INVISIBLE

if TYPE_CHECKING:
    import duckdb

    Connection = duckdb.DuckDBPyConnection

# Fewer rows of a class than these cannot be split into three and still be learned from.
MIN_CLASS_ROWS = 5
MAX_LABELS = 1000
MAX_LEFT_OUT_SHARE = 0.1
MAX_BAD_SHARE = 0.05
NUM_SAMPLED_ROWS = 20_000
NUM_LABELLED_ROWS, MAX_LABELLED_CHARACTERS = 2000, 1000
MAX_SAMPLED_CHARACTERS = 4_000_000
MAX_CHARACTERS_OF_A_TEXT = 20_000
# How exports write a value that is not there, in lower case.
MISSING = frozenset(("null", "\\n", "nan", "none", "na", "n/a", "#n/a", "nil", "<na>", "missing", "-", "?"))
# How DuckDB's names of types begin whose values are no single ones; those of lists end with a bracket.
NESTED = ("STRUCT", "MAP", "UNION")


@dataclass(frozen=True)
class Figures:
    """Counts and shares of the rows that the query gives."""

    num_rows: int
    num_bad: int
    bad_examples: str
    null_share: float
    duplicate_share: float
    conflict_share: float
    labels: dict[str, int]
    """The number of texts of each label, each text counted once, in the order in which the
    model will number the labels."""
    min_class_share: float
    """The rows of the rarest label, as a share of all rows with a label."""
    min_length: int
    max_length: int
    median_length: int
    tokens: tuple[int, ...]
    """The estimated number of tokens of each text of a sample, ascending."""
    latin_share: float
    """The share of Latin letters among the letters of the sample."""
    dense_share: float
    """The share of letters of scripts that are written without spaces, among the letters of the sample."""
    left_out: tuple[str, ...]
    """Labels that have too few texts to be learned, and are left out."""
    folded: tuple[tuple[str, ...], ...]
    """Groups of labels that differ in case, spaces or invisible characters only, and are made one."""
    missing: Mapping[str, int]
    """The number of texts of each label that is a usual name of a missing value."""
    mixed_scripts: tuple[str, ...]
    """Labels with letters of two alphabets, of which some look alike."""
    given: Mapping[str, int] | None = None
    """The rows with text and label of each split, where the rows come with one."""
    num_conflicts: int = 0
    """The different texts that carry two labels."""
    num_leaking: int = 0
    """The rows of the given training split whose text is in the given test split, too."""
    untested: tuple[str, ...] = ()
    """The labels that no row of the given test split has."""

    @property
    def num_texts(self) -> int:
        """The number of different texts that have a label."""
        return sum(self.labels.values())


@dataclass(frozen=True)
class Measured:
    format: CsvFormat | PlainFormat
    query: str
    figures: Figures
    sample: tuple[str, ...] = ()
    """Texts of the rows, drawn at random: as many as MAX_SAMPLED_CHARACTERS hold."""
    labelled: tuple[tuple[str, str], ...] = ()
    """Different texts with their label, drawn at random, none of a given test split."""


def measure_table(
    source: FileSource, form: CsvFormat | PlainFormat, *, text: str, label: str, split: str | Given | None = None
) -> Measured:
    """Read the source, whose path is absolute, and count its rows; SourceError where no classifier can be trained on
    these columns. `split` is the split that the rows come with, or the column that says it."""
    with tempfile.TemporaryDirectory(prefix="modelyard-") as work:
        fetched = fetch(source, root=Path(work), folder=Path(work) / "source")
        best, fewest = form, None
        for place, option in enumerate(options_of(form)):
            folder = Path(work) / str(place)
            with session(folder / "rows") as con:
                loaded = load(con, option, fetched, work=folder)
                if option.type == "jsonl" and loaded.num_rows == 1:
                    check_not_wrapped(con, fetched.paths[0], (text, label))
                if loaded.num_bad == 0:
                    return measured(con, option, loaded, text=text, label=label, split=split)
            if fewest is None or loaded.num_bad < fewest:
                best, fewest = option, loaded.num_bad
        with session(Path(work) / "again") as con:
            loaded = load(con, best, fetched, work=Path(work))
            return measured(con, best, loaded, text=text, label=label, split=split)


def options_of(form: CsvFormat | PlainFormat) -> list[CsvFormat | PlainFormat]:
    """Return the ways in which a file may be meant, the likeliest first. Quotes that make rows unreadable may be made
    plain by a backslash, be plain characters themselves, or be single ones."""
    if not isinstance(form, CsvFormat):
        return [form]
    changes: list[dict[str, str]] = [{}, {"escape": "\\"}, {"quote": ""}, {"quote": "'"}]
    return [form.model_copy(update=change) for change in changes]


def check_not_wrapped(con: "Connection", path: Path, wanted: tuple[str, str]) -> None:
    """Raise SourceError where a file of one JSON object holds the rows within it, with the command that takes them
    out."""
    there = dict(con.execute("SELECT column_name, column_type FROM (DESCRIBE source)").fetchall())
    target = repr(f"{path.name.partition('.')[0]}_lines.jsonl")
    if set(wanted) <= set(there) and all(there[name].startswith(("STRUCT", "MAP")) for name in wanted):
        code = f"import pandas; pandas.read_json({path.name!r}).to_json({target}, orient='records', lines=True)"
        raise SourceError(
            f"{path.name} holds an object of rows for each column, as pandas writes it; write the rows one a line: "
            f"python -c {shlex.quote(code)}"
        )
    lists = [name for name, kind in there.items() if kind.startswith("STRUCT") and kind.endswith("[]")]
    if not set(wanted) <= set(there) and len(lists) == 1:
        code = (
            f"import json; rows = json.load(open({path.name!r}))[{lists[0]!r}]; "
            f"open({target}, 'w').writelines(json.dumps(row) + chr(10) for row in rows)"
        )
        raise SourceError(
            f"{path.name} is one object; the rows are in its list '{lists[0]}': write them one a line: "
            f"python -c {shlex.quote(code)}"
        )


def check_columns(con: "Connection", wanted: Mapping[str, str]) -> None:
    """Raise SourceError where the names, each with the option that gave it, are not those of different columns of
    single values."""
    there = dict(con.execute("SELECT column_name, column_type FROM (DESCRIBE source)").fetchall())
    for option, name in wanted.items():
        if name not in there:
            raise SourceError(
                f"{option}: no column '{name}'{did_you_mean(name, there)}; the file has {examples(there)}"
            )
    for (option, name), (other, other_name) in itertools.combinations(wanted.items(), 2):
        if name == other_name:
            raise SourceError(f"{option} and {other} are both '{name}'; they must be two columns")
    for option, name in wanted.items():
        check_single(con, name, there[name], option)


def said_split(con: "Connection", split: str | Given) -> Given:
    """Return the split that the rows come with, by its column where that is named; SourceError where the files of the
    rows cannot be told, or the column does not say splits."""
    if isinstance(split, Given):
        if len(con.execute(f"SELECT DISTINCT {split.sql} FROM source").fetchall()) != len(NAMED_BY_FILE):
            raise SourceError(
                "--test: the files have a column 'filename' of their own, by which the test rows cannot be told, or "
                "one of them has no rows: rename the column"
            )
        return split
    values = con.execute(
        f"SELECT coalesce(as_text({identifier(split)}), 'null'), count(*) FROM source GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()
    return by_column(split, dict(values))


def check_single(con: "Connection", name: str, kind: str, option: str) -> None:
    """Raise SourceError where a column holds lists or objects."""
    column, nested = identifier(name), "true"
    if kind == MIXED:
        nested = f"json_type({column}) IN ('ARRAY', 'OBJECT')"
    elif not kind.startswith(NESTED) and not kind.endswith("]"):
        return
    query = f"SELECT to_json({column})::VARCHAR FROM source WHERE {column} IS NOT NULL AND {nested} LIMIT 5"
    if found := con.execute(query).fetchall():
        raise SourceError(
            f"{option}: column '{name}' holds lists or objects ({examples(value for (value,) in found)}); "
            "each must be one text or number: choose another column, or take one value out of each first"
        )


def check_readable(loaded: Loaded) -> None:
    if loaded.num_rows + loaded.num_bad == 0:
        raise SourceError("the file holds no rows below its header")
    if loaded.bad_share > MAX_BAD_SHARE:
        raise SourceError(
            f"{loaded.num_bad} of {loaded.num_rows + loaded.num_bad} rows of the file cannot be read, "
            f"more than {MAX_BAD_SHARE:.0%}: {loaded.examples()}; mend them, or write the recipe by hand"
        )


def measured(
    con: "Connection",
    form: CsvFormat | PlainFormat,
    loaded: Loaded,
    *,
    text: str,
    label: str,
    split: str | Given | None,
) -> Measured:
    """Choose the query by the labels that are there, and count the rows that it gives."""
    named = {"--split": split} if isinstance(split, str) else {}
    check_columns(con, {"--text": text, "--label": label, **named})
    check_readable(loaded)
    split_sql = said_split(con, split).sql if split is not None else None
    query = query_for(text, label, split=split_sql)
    counts = count_labels(con, query, label)
    folded = alike(counts)
    if folded:
        query = query_for(text, label, fold=True, split=split_sql)
        counts = count_labels(con, query, label)
    left_out = tuple(sorted(name for name, count in counts.items() if count < MIN_CLASS_ROWS))
    check_labels(label, counts, left_out)
    if left_out:
        query = query_for(text, label, fold=bool(folded), without=left_out, split=split_sql)
    labels = {name: counts[name] for name in in_order(counts.keys() - set(left_out))}
    figures = count(con, query, loaded, labels)
    if split is not None:
        check_known_labels(con)
        figures = replace(
            figures, given=count_splits(con), num_leaking=count_leaking(con), untested=untested_labels(con, labels)
        )
    missing = {name: number for name, number in counts.items() if name.lower() in MISSING}
    mixed = tuple(name for name in labels if len(scripts_of(name)) > 1)
    seen = replace(figures, left_out=left_out, folded=folded, missing=missing, mixed_scripts=mixed)
    labelled = labelled_sample(con, has_split=split is not None)
    return Measured(form, query, seen, sample_of(con), labelled)


def query_for(
    text: str, label: str, *, fold: bool = False, without: Iterable[str] = (), split: str | None = None
) -> str:
    """Return the SELECT of a recipe, in which blank is null; `fold` makes labels one that differ in case, spaces,
    invisible characters or their form in Unicode, and `split` is the SQL of the split that the rows come with."""
    text_sql, label_sql = (f"as_text({identifier(name)})" for name in (text, label))
    if fold:
        visible = f"nfc_normalize(regexp_replace({label_sql}, '{INVISIBLE.pattern}', '', 'g'))"
        label_sql = rf"lower(regexp_replace({visible}, '[\s\p{{Z}}]+', ' ', 'g'))"
    lines = [
        f"SELECT nullif(trim({text_sql}), '') AS text,",
        f"       nullif(trim({label_sql}), '') AS label" + (f",\n       {split} AS split" if split else ""),
        "FROM source",
    ]
    if not without:
        return "\n".join(lines) + "\n"
    names = ", ".join(literal(name) for name in without)
    inner = "\n".join(f"  {line}" for line in lines)
    return f"SELECT * FROM (\n{inner}\n)\nWHERE label IS NULL OR label NOT IN ({names})\n"


def scripts_of(label: str) -> set[str]:
    """Return which of the alphabets whose letters look alike a label has letters of: Latin, Cyrillic, Greek."""
    found = {unicodedata.name(letter, "").partition(" ")[0] for letter in label if letter.isalpha()}
    return found & {"LATIN", "CYRILLIC", "GREEK"}


def count_labels(con: "Connection", query: str, label: str) -> dict[str, int]:
    """Count, for each label, the texts that differ in more than case and spaces; one with two
    labels counts for neither."""
    import duckdb

    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE rows AS {query}")
    except duckdb.Error as error:
        raise SourceError(f"--label: column '{label}' cannot be read as text: {first_line(error)}") from error
    counted = con.execute(r"""
        SELECT label, count(*) FROM (
            SELECT any_value(label) AS label FROM rows WHERE text IS NOT NULL AND label IS NOT NULL
            GROUP BY lower(regexp_replace(text, '\s+', ' ', 'g')) HAVING count(DISTINCT label) = 1
        ) GROUP BY label
    """).fetchall()
    every = con.execute("SELECT DISTINCT label FROM rows WHERE label IS NOT NULL").fetchall()
    return dict.fromkeys((name for (name,) in every), 0) | dict(counted)


def alike(labels: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of labels that look alike but for case and white space."""
    groups: dict[str, list[str]] = {}
    for name in sorted(labels):
        seen = unicodedata.normalize("NFC", INVISIBLE.sub("", name))
        groups.setdefault(" ".join(seen.split()).lower(), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def check_labels(label: str, counts: dict[str, int], left_out: tuple[str, ...]) -> None:
    """Raise SourceError where the column does not hold classes."""
    if not counts:
        raise SourceError(f"--label: column '{label}' is empty in every row; it needs the classes")
    if len(counts) == 1:
        raise SourceError(f"--label: column '{label}' holds one class only, {examples(counts)}; it needs two or more")
    kept = len(counts) - len(left_out)
    lost = sum(counts[name] for name in left_out) / max(sum(counts.values()), 1)
    if kept < 2 or kept > MAX_LABELS or lost > MAX_LEFT_OUT_SHARE:
        raise SourceError(
            f"--label: column '{label}' holds {len(counts)} values, of which {len(left_out)} have fewer than "
            f"{MIN_CLASS_ROWS} different texts ({examples(left_out or sorted(counts))}); a class needs at least "
            f"{MIN_CLASS_ROWS}, and there may be 2 to {MAX_LABELS} classes: choose another column, or add rows"
        )


def in_order(labels: Iterable[str]) -> list[str]:
    """Return labels by number where all are whole numbers, else in alphabetical order."""
    names = sorted(labels)
    return sorted(names, key=int) if all(name.lstrip("-").isdecimal() for name in names) else names


def count(con: "Connection", query: str, loaded: Loaded, labels: dict[str, int]) -> Figures:
    """Return the figures of the rows that the query gives."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE rows AS {query}")
    num_rows, num_texts, different, nulls, shortest, longest, median = one(
        con,
        "SELECT count(*), count(text), count(DISTINCT text), count(*) FILTER (text IS NULL OR label IS NULL), "
        "min(length(text)), max(length(text)), median(length(text)) FROM rows",
    )
    (conflicts,) = one(
        con,
        "SELECT count(*) FROM (SELECT text FROM rows WHERE text IS NOT NULL GROUP BY text "
        "HAVING count(DISTINCT label) > 1)",
    )
    labelled, rarest = one(
        con,
        "SELECT sum(n), min(n) FROM (SELECT count(*) AS n FROM rows WHERE label IS NOT NULL GROUP BY label)",
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE sampled AS SELECT text FROM (SELECT text FROM rows WHERE text IS NOT NULL) "
        f"USING SAMPLE reservoir({NUM_SAMPLED_ROWS} ROWS) REPEATABLE (0)"
    )
    words = con.execute(f"SELECT len(regexp_extract_all(text, '{WORDS}')) FROM sampled ORDER BY 1").fetchall()
    letters, latin, dense = one(
        con,
        rf"SELECT sum(len(regexp_extract_all(text, '\p{{L}}'))), sum(len(regexp_extract_all(text, '\p{{Latin}}'))), "
        f"sum(len(regexp_extract_all(text, '[{DENSE}]'))) FROM sampled",
    )
    return Figures(
        num_rows=num_rows,
        num_bad=loaded.num_bad,
        bad_examples=loaded.examples(),
        null_share=nulls / num_rows,
        duplicate_share=(num_texts - different) / num_rows,
        conflict_share=conflicts / max(different, 1),
        num_conflicts=conflicts,
        labels=labels,
        min_class_share=rarest / labelled,
        min_length=shortest,
        max_length=longest,
        median_length=int(median),
        tokens=tuple(round(number * TOKENS_PER_WORD) + SPECIAL_TOKENS for (number,) in words),
        latin_share=latin / letters if letters else 1.0,
        dense_share=dense / letters if letters else 0.0,
        left_out=(),
        folded=(),
        missing={},
        mixed_scripts=(),
    )


def sample_of(con: "Connection") -> tuple[str, ...]:
    """Return different texts of the sample, the beginning of each, in an order that tells nothing of the file's."""
    drawn = con.execute(
        f"SELECT DISTINCT left(text, {MAX_CHARACTERS_OF_A_TEXT}) AS text FROM sampled ORDER BY hash(text), text"
    ).fetchall()
    ends = itertools.accumulate(len(text) for (text,) in drawn)
    return tuple(text for (text,), end in zip(drawn, ends, strict=True) if end <= MAX_SAMPLED_CHARACTERS)


def labelled_sample(con: "Connection", *, has_split: bool) -> tuple[tuple[str, str], ...]:
    """Return texts that differ in more than case and spaces, the beginning of each, with their one label."""
    training = " AND split <> 'test'" if has_split else ""
    found = con.execute(rf"""
        SELECT text, label FROM (
            SELECT left(any_value(text), {MAX_LABELLED_CHARACTERS}) AS text, any_value(label) AS label,
                lower(regexp_replace(text, '\s+', ' ', 'g')) AS key
            FROM rows WHERE text IS NOT NULL AND label IS NOT NULL{training}
            GROUP BY key HAVING count(DISTINCT label) = 1
        ) ORDER BY hash(key), key LIMIT {NUM_LABELLED_ROWS}
    """).fetchall()
    return tuple((text, label) for text, label in found)


def count_splits(con: "Connection") -> dict[str, int]:
    """Return the number of rows with text and label of each split, by the table `rows`."""
    found = con.execute(
        "SELECT split, count(*) FROM rows WHERE text IS NOT NULL AND label IS NOT NULL GROUP BY split"
    ).fetchall()
    return {name: dict(found).get(name, 0) for name in NAMES}


def check_known_labels(con: "Connection") -> None:
    """Raise SourceError where a given test split has a label that no row for training has, by the table `rows`."""
    found = con.execute("""
        SELECT label, count(*) FROM rows WHERE split = 'test' AND text IS NOT NULL AND label IS NOT NULL
            AND label NOT IN (SELECT label FROM rows WHERE split = 'train' AND text IS NOT NULL AND label IS NOT NULL)
        GROUP BY label ORDER BY label
    """).fetchall()
    if found:
        told = examples(f"{label} ({count:,} rows)" for label, count in found)
        raise SourceError(
            f"the test rows have labels that no row for training has: {told}; a model cannot learn them: take these "
            "rows out of the test rows, or add such rows for training"
        )


def untested_labels(con: "Connection", labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that no test row has, by the table `rows`."""
    found = con.execute("SELECT DISTINCT label FROM rows WHERE split = 'test' AND text IS NOT NULL").fetchall()
    there = {name for (name,) in found}
    return tuple(name for name in labels if name not in there)


def count_leaking(con: "Connection") -> int:
    """Return the number of rows for training whose text is that of a test row, by the table `rows`."""
    (number,) = one(
        con,
        "SELECT count(*) FROM rows WHERE split = 'train' AND text IN (SELECT text FROM rows WHERE split = 'test' "
        "AND text IS NOT NULL)",
    )
    return int(number)


def one(con: "Connection", query: str) -> tuple[Any, ...]:
    row = con.execute(query).fetchone()
    assert row is not None
    return row
