"""validate: judges the rows against the recipe's data contract, before anything is made of them.

Reads `ingest/data.parquet`. Writes `verdict.json`: every expectation with what was seen, and the labels in the order in
which the model numbers them. The expectations are Great Expectations' own (https://greatexpectations.io), over three
tables: the rows, the distinct texts, and the classes; their Data Docs, a site to browse, are left in `observations/`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.artifacts import artifact, observations, write_json
from components.errors import ContractError
from components.params import Validate
from components.tracking import Tracker
from components.validate.expectations import checks_of
from components.validate.judging import Judged, judge
from components.validate.showing import line_of, show
from components.validate.tables import Tables, read_tables


@dataclass(frozen=True)
class Inputs:
    data: Path = artifact("ingest/data.parquet")


@dataclass(frozen=True)
class Outputs:
    verdict: Path = artifact("verdict.json")
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    num_rows: int
    num_labels: int
    """That come up in the rows."""
    num_texts: int
    """That differ."""
    num_nulls: int
    """Rows without a text or without a label."""
    duplicate_share: float
    """Of rows whose text came before."""
    conflict_share: float
    """Of texts that carry two labels."""
    min_class_share: float
    """Of the contract's rarest label."""
    min_text_length: int
    """Characters."""
    max_text_length: int
    """Characters."""
    num_expectations: int
    num_failed: int


def run(params: Validate, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the rows. ContractError, with the verdict left in `observations/`, where they break the contract."""
    contract = params.contract
    site = outputs.observations / "data_docs"
    with read_tables(
        inputs.data, tuple(contract.columns), contract.labels, spill=outputs.observations / "spill"
    ) as tables:
        judged = judge(checks_of(contract, tables), tables, site=site)
        report = report_of(tables, judged)
        verdict = verdict_of(tables, judged, contract.labels)
    write_json(outputs.observations / "verdict.json", verdict)
    tracker.log_file(outputs.observations / "verdict.json")
    tracker.log_file(site)
    show(judged)
    failed = [one for one in judged if not one.success]
    if failed:
        raise ContractError(
            f"the rows break the data contract in {len(failed)} of {len(judged)} expectations: "
            + "; ".join(line_of(one) for one in failed)
            + f". Data Docs: {site / 'index.html'}",
            report=asdict(report),
        )
    write_json(outputs.verdict, verdict)
    return report


def verdict_of(tables: Tables, judged: Sequence[Judged], labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "class_counts": {one.label: one.num_rows for one in tables.classes},
        "expectations": [asdict(one) for one in judged],
        "labels": list(labels),
        "num_rows": tables.num_rows,
        "success": all(one.success for one in judged),
    }


def report_of(tables: Tables, judged: Sequence[Judged]) -> Report:
    """The figures of the data set, 0 where the rows have no such column."""
    nulls, texts, distinct, shortest, longest = tables.figures(
        "SELECT count(*) FILTER (text IS NULL OR label IS NULL), count(text), count(DISTINCT text), "
        "coalesce(min(length(text)), 0), coalesce(max(length(text)), 0) FROM data"
    )
    (conflicts,) = tables.figures(
        "SELECT count(*) FROM (SELECT text FROM data WHERE text IS NOT NULL GROUP BY text "
        "HAVING count(DISTINCT label) > 1)"
    )
    classes = tables.classes
    return Report(
        num_rows=tables.num_rows,
        num_labels=sum(one.num_rows > 0 for one in classes),
        num_texts=distinct,
        num_nulls=nulls,
        duplicate_share=round((texts - distinct) / max(texts, 1), 6),
        conflict_share=round(conflicts / max(distinct, 1), 6),
        min_class_share=round(min((one.share for one in classes), default=0.0), 6),
        min_text_length=shortest,
        max_text_length=longest,
        num_expectations=len(judged),
        num_failed=sum(not one.success for one in judged),
    )
