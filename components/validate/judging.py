"""The judging of the expectations on the tables, with Great Expectations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from components.plumbing.errors import ModelyardError
from components.validate.expectations import Check
from components.validate.tables import Tables


@dataclass(frozen=True)
class Judged:
    """The verdict on one expectation."""

    name: str
    """The expectation's type in Great Expectations."""
    table: str
    column: str
    expected: str
    success: bool
    num_unexpected: int | None
    """The number of rows (or texts, arrays, classes) that break it, tolerated ones included; None where it judges the
    table as a whole."""
    share: float | None
    """The share of the rows with a value that break it, or of all rows where nulls break it; None where it judges the
    table as a whole."""
    observed: int | float | str | None
    """The single value that was judged; None where the expectation judges row by row."""
    examples: list[str]
    """Up to five examples, where it failed."""
    advice: str
    """Advice on how to mend the fault, where it failed."""
    found: str
    """The finding in words; empty where `num_unexpected` and `share` say it."""


def judge(checks: Sequence[Check], tables: Tables) -> list[Judged]:
    """Return the verdict on each check, in the order of the checks."""
    context = gx.get_context(project_config=settings())
    source = context.data_sources.add_pandas("data")
    verdicts: dict[int, Judged] = {}
    for name in dict.fromkeys(check.table for check in checks):
        numbered = {number: check for number, check in enumerate(checks) if check.table == name}
        for number, result in results_of(context, source, name, numbered, tables.frame(name)):
            verdicts[number] = judged(checks[number], result, tables)
    return [verdicts[number] for number in range(len(checks))]


def settings() -> DataContextConfig:
    """Return the settings of a context that keeps everything in memory and builds no Data Docs (page.py writes
    them)."""
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


def results_of(context: Any, source: Any, name: str, checks: dict[int, Check], table: Any) -> list[tuple[int, Any]]:
    """Return the results over one table, each with the number of its check."""
    for number, check in checks.items():
        check.expectation.meta = {"number": number}
        check.expectation.description = check.expected
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(
        gx.ExpectationSuite(name=name, expectations=[check.expectation for check in checks.values()])
    )
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    shown = {"texts": ["content"], "arrays": ["content"], "classes": ["label"]}.get(name)
    form = {"result_format": "SUMMARY", "partial_unexpected_count": 5}
    done = validation.run(
        batch_parameters={"dataframe": table},
        result_format=form | {"unexpected_index_column_names": shown} if shown else form,
        run_id=RunIdentifier(run_name="validate"),
    )
    return [(result.expectation_config.meta["number"], result) for result in done.results]


def judged(check: Check, result: Any, tables: Tables) -> Judged:
    """Return a result as plain values, with a closer look where the expectation failed.

    Raises ModelyardError where the expectation could not be computed.
    """
    if result.exception_info.get("raised_exception"):
        raise ModelyardError(
            f"the expectation '{check.expected}' could not be computed: {result.exception_info['exception_message']}"
        )
    seen: dict[str, Any] = result.result
    look = None if result.success else check.look(tables)
    num_unexpected = seen.get("unexpected_count", None if look is None else look.num_rows)
    percent = seen.get("unexpected_percent_nonmissing", seen.get("unexpected_percent"))
    observed = seen.get("observed_value")
    return Judged(
        name=result.expectation_config.type,
        table=check.table,
        column=check.column,
        expected=check.expected,
        success=bool(result.success),
        num_unexpected=None if num_unexpected is None else int(num_unexpected),
        share=None if percent is None else round(float(percent) / 100, 6),
        observed=round(float(observed), 6) if isinstance(observed, float) else observed,
        examples=[] if look is None else look.examples,
        advice="" if look is None else look.advice,
        found=look.found if look else check.found(tables) if check.found else "",
    )
