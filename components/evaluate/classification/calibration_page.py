"""The part of a model's page on the calibration of its scores: the figures before and after."""

from collections.abc import Mapping
from html import escape
from typing import Any

from components.plumbing.pages import Part, table

COMPARED = {"ece": "calibration error (ECE)", "log_loss": "log loss, nats", "accuracy": "accuracy"}


def part(report: Mapping[str, Any]) -> Part:
    """Return the part of the page on a calibration, from the figures of evaluate's report by name."""
    fitted = f"temperature {report['temperature']:.4g}" if "temperature" in report else "isotonic regression"
    head = f"<p>Fitted on {report['num_calibrated_on']:,} rows of the validation split: {escape(fitted)}. The figures"
    head += f" are of the test split, which took no part; intervals are of {report['confidence']:.0%}.</p>\n"
    rows = [
        (words, f"{report[f'{name}_before']:.4f}", f"{report[name]:.4f}", with_interval(report, f"{name}_gain"))
        for name, words in COMPARED.items()
    ]
    body = head + table(("", "before", "after", "better by"), rows) + abstaining(report)
    return Part("Calibration", body)


def with_interval(report: Mapping[str, Any], name: str) -> str:
    """Return a figure with its interval, in words."""
    return f"{report[name]:.4f} ({report[f'{name}_low']:.4f} to {report[f'{name}_high']:.4f})"


def abstaining(report: Mapping[str, Any]) -> str:
    """Return what the threshold of "I do not know" gives, as HTML; nothing where there is none."""
    if "coverage" not in report:
        return ""
    rows = [
        ("an answer counts from the confidence", f"{report['threshold']:.4f}"),
        ("rows answered on the test split (coverage)", with_interval(report, "coverage")),
    ]
    if "answered_precision" in report:
        rows.append(("of these, right", with_interval(report, "answered_precision")))
    rows.append(("wanted of these, on the validation split", f"{report['wanted_precision']:g}"))
    return f"<p>Below a threshold the model says “I do not know” (<code>abstain</code>).</p>\n{table((), rows)}"
