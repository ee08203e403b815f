"""How the report on a model that scores arrays is told in a few rows."""

from components.summary import Data, Row, Summary, figure, heads_with_interval


def table(report: Data, _order: int | None) -> tuple[Row, list[Row]]:
    """The Brier score beside the baseline's; no rows where there is no report yet."""
    if not headline(report):
        return heads_with_interval(report), []
    return heads_with_interval(report), [
        figure(report, "brier"),
        figure(report, "gain", name="brier below the baseline"),
    ]


def headline(report: Data) -> str:
    """The key of the figure that the model is told by."""
    return "brier" if "brier" in report else ""


SUMMARY = Summary(table, headline)
