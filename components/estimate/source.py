"""The rows of a recipe's source, counted before any stage has run, by ingest's own reader and query.

Only what is on this machine is read: a file, or a download that is kept. Nothing is fetched.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from components.estimate.lengths import SPECIAL_TOKENS, TOKENS_PER_WORD, WORDS
from components.ingest.feedback import load_feedback
from components.ingest.query import write_query
from components.ingest.reading import load
from components.ingest.session import session
from components.params import FileSource, Ingest
from components.plumbing.errors import SourceError
from components.sources import fetch

if TYPE_CHECKING:
    import duckdb

NUM_SAMPLED = 2_000
MAX_CHARACTERS = 20_000
NUM_LENGTHS = 500


@dataclass(frozen=True)
class SeenRows:
    """The rows that the query gives."""

    num_rows: int
    """The number of rows, or of different texts with a label."""
    counted: str
    """What `num_rows` counts, in words."""
    num_unlabelled: int
    num_characters: int
    """The characters of all texts; 0 where there are none."""
    lengths: tuple[int, ...]
    """The tokens of texts of a sample, ascending, uncut; empty where there are no texts."""


def see_rows(root: Path, params: Ingest, *, tokenizer: Path | None) -> SeenRows | None:
    """Count the rows of a source, and the tokens of its texts by the `tokenizer`, or by their words where None.

    Return None where the source is not on this machine, or cannot be read: the run says why.
    """
    if not is_here(root, params.source):
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="modelyard-estimate-") as work:
            rows = Path(work) / "rows.parquet"
            fetched = fetch(params.source, root=root, folder=Path(work) / "source")
            with session(Path(work) / "duckdb") as con:
                load(con, params.format, fetched, work=Path(work))
                if params.feedback:
                    load_feedback(con, params.feedback, root=root)
                columns = {column.name for column in write_query(con, params.query, rows)}
            with session(Path(work) / "counted") as con:
                return count(con, rows, columns, tokenizer)
    except SourceError:
        return None


def is_here(root: Path, source: Any) -> bool:
    """Return whether a source can be read without a download."""
    if isinstance(source, FileSource):
        return (root / Path(source.path).expanduser()).exists()
    sha256 = getattr(source, "sha256", None)
    return bool(sha256) and any((root / ".modelyard" / "downloads" / sha256).glob("*"))


def count(con: "duckdb.DuckDBPyConnection", rows: Path, columns: set[str], tokenizer: Path | None) -> SeenRows:
    con.execute("CREATE VIEW rows AS SELECT * FROM read_parquet($path)".replace("$path", f"'{rows}'"))
    if "text" not in columns:
        (num_rows,) = one(con, "SELECT count(*) FROM rows")
        return SeenRows(num_rows, "rows, those of the source", 0, 0, ())
    (num_all,) = one(con, "SELECT count(*) FROM rows")
    what = f"texts, those of the source's {num_all:,} rows"
    if "label" in columns:
        what = f"different texts with a label, in the source's {num_all:,} rows"
        counted = "count(DISTINCT text) FILTER (label IS NOT NULL), count(DISTINCT text) FILTER (label IS NULL)"
    else:
        counted = "count(text), 0"
    num_rows, num_unlabelled, characters = one(con, f"SELECT {counted}, sum(length(text)) FROM rows")
    con.execute(
        f"CREATE TABLE sampled AS SELECT left(text, {MAX_CHARACTERS}) AS text FROM (SELECT DISTINCT text FROM rows "
        f"WHERE text IS NOT NULL) USING SAMPLE reservoir({NUM_SAMPLED} ROWS) REPEATABLE (0)"
    )
    return SeenRows(num_rows, what, num_unlabelled, int(characters or 0), lengths_of(con, tokenizer))


def lengths_of(con: "duckdb.DuckDBPyConnection", tokenizer: Path | None) -> tuple[int, ...]:
    if tokenizer is None:
        words = con.execute(f"SELECT len(regexp_extract_all(text, '{WORDS}')) FROM sampled").fetchall()
        return thinned(round(number * TOKENS_PER_WORD) + SPECIAL_TOKENS for (number,) in words)
    texts = [text for (text,) in con.execute("SELECT text FROM sampled").fetchall()]
    known = Tokenizer.from_file(str(tokenizer))
    known.no_truncation()
    known.no_padding()
    return thinned(len(encoding.ids) for encoding in known.encode_batch(texts))


def thinned(lengths: Any) -> tuple[int, ...]:
    """Return at most NUM_LENGTHS of the lengths, ascending, which are distributed as all of them."""
    ordered = sorted(lengths)
    step = max(1, len(ordered) / NUM_LENGTHS)
    return tuple(ordered[int(place * step)] for place in range(min(len(ordered), NUM_LENGTHS)))


def one(con: "duckdb.DuckDBPyConnection", query: str) -> tuple[Any, ...]:
    row = con.execute(query).fetchone()
    assert row is not None
    return row
