"""Puts the expectations to the tables with Great Expectations, and builds the Data Docs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from components.errors import ModelyardError
from components.validate.expectations import Check
from components.validate.tables import Tables

# Pictures of Great Expectations' own documentation, half of the site's bytes.
UNUSED = ("*.gif", "iterative-dev-loop.png")


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


def judge(checks: Sequence[Check], tables: Tables, *, site: Path) -> list[Judged]:
    """The verdict on each check, in their order; leaves the Data Docs in the folder `site`."""
    context = gx.get_context(project_config=settings_of(site))
    source = context.data_sources.add_pandas("data")
    verdicts: dict[int, Judged] = {}
    for name in dict.fromkeys(check.table for check in checks):
        numbered = {number: check for number, check in enumerate(checks) if check.table == name}
        for number, result in results_of(context, source, name, numbered, tables.frame(name)):
            verdicts[number] = judged(checks[number], result, tables)
    context.build_data_docs()
    tidy(site)
    return [verdicts[number] for number in range(len(checks))]


def settings_of(site: Path) -> DataContextConfig:
    """A context that keeps everything in memory, except for the Data Docs."""
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={
            "data_docs": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            }
        },
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
    )


def tidy(site: Path) -> None:
    """Leave out the pictures that no page shows, and show the logo that lies beside the pages."""
    for pattern in UNUSED:
        for path in (site / "static" / "images").glob(pattern):
            path.unlink()
    for page in site.rglob("*.html"):
        logo = "../" * len(page.relative_to(site).parent.parts) + "static/images/logo-long.png"
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"https://great-expectations-web-assets[^\"')]*", logo, text), encoding="utf-8")
