"""Rows that users of the service labelled, beside those of the source."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.ingest import Inputs, Outputs, run
from components.monitoring.learned import add_rows
from components.monitoring.texts import TextInputs
from components.monitoring.windows import Row
from components.params import Contract, Ingest
from components.plumbing.artifacts import read_json, sha256_of
from components.plumbing.errors import SourceError
from components.tracking.tracker import NullTracker
from flows.new.figures import query_for
from flows.new.template import LEARNED

FEEDBACK = "data/feedback/tiny.parquet"
BOTH = "SELECT text, label FROM source UNION ALL SELECT text, label FROM feedback"

CONTRACT = Contract.model_validate(
    {
        "columns": {"text": "string", "label": "string"}, "labels": ("bad", "good"),
        "num_rows": {"min": 1, "max": None}, "text_length": {"min": 1, "max": 1000}, "max_null_share": 0.5,
        "max_duplicate_share": 0.0, "max_conflict_share": 0.0, "min_class_share": 0.0,
    }
)  # fmt: skip


def params(query: str) -> Ingest:
    form = {"type": "csv", "delimiter": ",", "quote": '"', "header": True, "encoding": "utf-8"}
    raw = {
        "source": {"kind": "file", "path": "rows.csv"}, "format": form, "query": query, "feedback": FEEDBACK,
        "licence": "MIT", "max_bad_share": 0.0, "watch": "rows.csv",
    }  # fmt: skip
    return Ingest.model_validate_json(json.dumps(raw))


def told(root: Path, *said: tuple[str, str]) -> None:
    """Keep what was said of these texts."""
    time = datetime(2026, 11, 22, tzinfo=UTC)
    rows = [Row(f"r{n}", 0, time, text, 7, {"label": "good"}, label, time) for n, (text, label) in enumerate(said)]
    add_rows(root / FEEDBACK, rows, kind=TextInputs(), contract=CONTRACT, version="0123456789ab")


def ingested(root: Path, query: str = BOTH) -> tuple[list[dict[str, str]], Any]:
    """The rows, and what the card says of the feedback."""
    out = root / "out"
    out.mkdir(exist_ok=True)
    outputs = Outputs(data=out / "data.parquet", card=out / "card.json", work=out / "work", observations=out)
    run(params(query), Inputs(project=root), outputs, tracker=NullTracker())
    return pq.read_table(outputs.data).to_pylist(), read_json(outputs.card)["feedback"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("text,label\na film,good\n")
    return tmp_path


def test_rows_with_feedback_join_those_of_the_source(project: Path) -> None:
    rows, card = ingested(project)
    assert rows == [{"text": "a film", "label": "good"}]
    assert card == {"path": FEEDBACK, "num_rows": 0, "sha256": None}
    told(project, ("a tweet", "bad"))
    rows, card = ingested(project)
    assert rows == [{"text": "a film", "label": "good"}, {"text": "a tweet", "label": "bad"}]
    assert card == {"path": FEEDBACK, "num_rows": 1, "sha256": sha256_of(project / FEEDBACK)}


def test_in_a_query_that_new_proposes_what_users_said_of_a_text_wins(project: Path) -> None:
    (project / "rows.csv").write_text('text,label\na film,good\n" a book ",good\n,bad\na play,bad\n')
    query = LEARNED.format(query=query_for("text", "label"))
    known = [("a film", "good"), ("a book", "good"), (None, "bad"), ("a play", "bad")]
    assert [(row["text"], row["label"]) for row in ingested(project, query)[0]] == known
    told(project, ("a film", "bad"), ("a film ", "good"), ("a book", "bad"), ("a tweet", "good"))
    rows = [(row["text"], row["label"]) for row in ingested(project, query)[0]]
    assert rows == [(None, "bad"), ("a play", "bad"), ("a film", "good"), ("a book", "bad"), ("a tweet", "good")]


def test_feedback_that_is_no_parquet_is_named(project: Path) -> None:
    (project / "data/feedback").mkdir(parents=True)
    (project / FEEDBACK).write_bytes(b"no parquet")
    with pytest.raises(SourceError, match=r"ingest.feedback: data/feedback/tiny.parquet cannot be read"):
        ingested(project)


def test_feedback_that_dvc_knows_of_and_is_not_here_is_missed(project: Path) -> None:
    (project / "data/feedback").mkdir(parents=True)
    (project / f"{FEEDBACK}.dvc").touch()
    with pytest.raises(SourceError, match=r"tiny.parquet is not here, though tiny.parquet.dvc is; 'dvc pull "):
        ingested(project)


def test_feedback_that_the_query_does_not_read_is_refused() -> None:
    with pytest.raises(ValidationError, match="query does not read the table 'feedback'"):
        params("SELECT text, label FROM source")
