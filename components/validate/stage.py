"""validate: judges the rows against the recipe's data contract, before anything is made of them.

Reads `ingest/data.parquet`. Writes `verdict.json`, which holds every expectation with its finding, and the labels in
the order in which the model numbers them (an empty list where the contract has none). The expectations are Great
Expectations' own (https://greatexpectations.io), over three tables: the rows, the distinct texts or arrays, and the
classes. Data Docs, a page on the verdict, are left in `observations/`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from components.params import Contract, Validate
from components.plumbing.artifacts import artifact, observations, write_json
from components.plumbing.errors import ContractError
from components.tracking.tracker import Tracker
from components.validate.arrays import LARGEST, SMALLEST
from components.validate.expectations import checks_of
from components.validate.judging import Judged, judge
from components.validate.page import page_of
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
    """The number of labels that occur in the rows."""
    num_distinct: int
    """The number of different texts or arrays; only those of labelled rows count where rows may be without a label."""
    num_nulls: int
    """The number of rows without a text or an array, or without a label that they should have."""
    num_unlabelled: int
    """The number of rows without a label, where the contract allows such rows."""
    duplicate_share: float
    """The share of rows whose text or array occurs in an earlier row."""
    conflict_share: float
    """The share of distinct texts or arrays that carry more than one label."""
    min_class_share: float
    """The share of the labelled rows that carry the contract's rarest label; 0 where the contract has no labels."""
    min_text_length: int
    """The characters of the shortest text; 0 where there are no texts."""
    max_text_length: int
    """The characters of the longest text; 0 where there are no texts."""
    min_value: float
    """The smallest number in all arrays; 0 where there are no arrays, as for `max_value`, the largest."""
    max_value: float
    num_expectations: int
    num_failed: int


def run(params: Validate, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the rows against the contract; raise ContractError where they break it.

    The verdict and Data Docs are left in `observations/` in either case.
    """
    contract = params.contract
    page = outputs.observations / "data_docs.html"
    with read_tables(inputs.data, contract, spill=outputs.observations / "spill") as tables:
        judged = judge(checks_of(contract, tables), tables)
        report = report_of(contract, tables, judged)
        verdict = verdict_of(tables, judged, contract.labels or ())
        page.write_text(page_of(judged, tables.classes, num_rows=tables.num_rows), encoding="utf-8")
    write_json(outputs.observations / "verdict.json", verdict)
    tracker.log_file(outputs.observations / "verdict.json")
    tracker.log_file(page)
    show(judged)
    failed = [one for one in judged if not one.success]
    if failed:
        raise ContractError(
            f"the rows break the data contract in {len(failed)} of {len(judged)} expectations: "
            + "; ".join(line_of(one) for one in failed)
            + f". Data Docs: {page}",
            report=asdict(report),
        )
    write_json(outputs.verdict, verdict)
    return report


def verdict_of(tables: Tables, judged: Sequence[Judged], labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "class_counts": {one.label: one.num_rows for one in tables.classes},
        # Without what is found in words, which the figures say.
        "expectations": [{name: value for name, value in asdict(one).items() if name != "found"} for one in judged],
        "labels": list(labels),
        "num_rows": tables.num_rows,
        "success": all(one.success for one in judged),
    }


def report_of(contract: Contract, tables: Tables, judged: Sequence[Judged]) -> Report:
    """Return the figures of the data set, which are 0 where the rows have no such column."""
    has_no = "label IS NULL" if "label" in contract.columns else "false"
    nulls, unlabelled, contents, distinct, shortest, longest = tables.figures(
        f"SELECT count(*) FILTER (content IS NULL OR {has_no}), count(*) FILTER (content IS NOT NULL AND {has_no}), "
        "count(judged), count(DISTINCT judged), coalesce(min(length(content)), 0), coalesce(max(length(content)), 0) "
        "FROM data"
    )
    is_mixed = contract.max_unlabelled_share is not None
    (conflicts,) = tables.figures(
        "SELECT count(*) FROM (SELECT judged FROM data WHERE judged IS NOT NULL GROUP BY judged "
        "HAVING count(DISTINCT label) > 1)"
    )
    classes = tables.classes
    return Report(
        num_rows=tables.num_rows,
        num_labels=sum(one.num_rows > 0 for one in classes),
        num_distinct=distinct,
        num_nulls=nulls - unlabelled if is_mixed else nulls,
        num_unlabelled=unlabelled if is_mixed else 0,
        duplicate_share=round((contents - distinct) / max(contents, 1), 6),
        conflict_share=round(conflicts / max(distinct, 1), 6),
        min_class_share=round(min((one.share for one in classes), default=0.0), 6),
        min_text_length=0 if tables.is_of_arrays else shortest,
        max_text_length=0 if tables.is_of_arrays else longest,
        min_value=figure(tables, SMALLEST, "min"),
        max_value=figure(tables, LARGEST, "max"),
        num_expectations=len(judged),
        num_failed=sum(not one.success for one in judged),
    )


def figure(tables: Tables, column: str, of: Literal["min", "max"]) -> float:
    """Return the least or the greatest number in a column of the rows; 0 where there is none."""
    numbers: Any = tables.rows[column].dropna() if column in tables.rows else ()
    return float(getattr(numbers, of)()) if len(numbers) else 0.0
