"""Puts the expectations to the tables with Great Expectations."""

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
    """One expectation's part of the verdict."""

    name: str
    """Great Expectations' name of it."""
    table: str
    column: str
    expected: str
    success: bool
    num_unexpected: int | None
    """Rows (or texts, arrays, classes) that break it, tolerated ones too; None where it judges the table as a whole."""
    share: float | None
    """Of the table's rows that have a value."""
    observed: int | float | str | None
    """The one value that was judged, where there is one."""
    examples: list[str]
    """At most five, where it failed."""
    advice: str
    """How to mend it, where it failed."""
    found: str
    """In words; empty where it is `num_unexpected` and `share`."""


def judge(checks: Sequence[Check], tables: Tables) -> list[Judged]:
    """The verdict on each check, in their order."""
    context = gx.get_context(project_config=settings())
    source = context.data_sources.add_pandas("data")
    verdicts: dict[int, Judged] = {}
    for name in dict.fromkeys(check.table for check in checks):
        numbered = {number: check for number, check in enumerate(checks) if check.table == name}
        for number, result in results_of(context, source, name, numbered, tables.frame(name)):
            verdicts[number] = judged(checks[number], result, tables)
    return [verdicts[number] for number in range(len(checks))]


def settings() -> DataContextConfig:
    """A context that keeps everything in memory, and builds no Data Docs: see page.py."""
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


def results_of(context: Any, source: Any, name: str, checks: dict[int, Check], table: Any) -> list[tuple[int, Any]]:
    """The results over one table, each with the number of its check."""
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
    """One result in plain values, with a closer look where it failed."""
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
