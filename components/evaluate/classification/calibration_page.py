"""The part of a recipe's page on its calibration: the figures before and after, and how often each score is right."""

from collections.abc import Mapping
from html import escape
from typing import Any

from components.evaluate.classification.reliability import Curve, Reliability
from components.plumbing.pages import LIGHT, Part, table, themed

SIDE, LEFT, TOP = 220, 44, 12
"""The side of the square that is drawn in, and the place of its corner, in pixels."""
WIDTH, HEIGHT = LEFT + SIDE + 150, TOP + SIDE + 40
LOOKS = {"before": ("reference", "4 3"), "after": ("window", "")}
"""The colour by its role, and the dashes, of each curve."""
COMPARED = {"ece": "calibration error (ECE)", "log_loss": "log loss, nats", "accuracy": "accuracy"}


def part(found: Reliability) -> Part:
    """Return the part of the page on a calibration."""
    report = found.report
    fitted = f"temperature {report['temperature']:.4g}" if "temperature" in report else "isotonic regression"
    head = f"<p>Fitted on {report['num_calibrated_on']:,} rows of the validation split: {escape(fitted)}. The figures"
    head += f" are of the test split, which took no part; intervals are of {report['confidence']:.0%}.</p>\n"
    rows = [
        (words, f"{report[f'{name}_before']:.4f}", f"{report[name]:.4f}", with_interval(report, f"{name}_gain"))
        for name, words in COMPARED.items()
    ]
    body = head + table(("", "before", "after", "better by"), rows) + drawing(found) + abstaining(report)
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


def drawing(found: Reliability) -> str:
    """Return the accuracy over the confidence before and after, as SVG."""
    axes = f'<path d="M{LEFT} {TOP}V{TOP + SIDE}H{LEFT + SIDE}" fill="none" style="stroke: {LIGHT["faint"]}"/>'
    right = f'<path d="M{x_of(0)} {y_of(0)}L{x_of(1)} {y_of(1)}" style="stroke: {LIGHT["line"]}"/>'
    ticks = "".join(
        words(f"{share:g}", LEFT - 6, y_of(share) + 4, anchor="end")
        + words(f"{share:g}", x_of(share), TOP + SIDE + 16, anchor="middle")
        for share in (0, 0.5, 1)
    )
    named = words("confidence", x_of(0.5), TOP + SIDE + 34, anchor="middle") + words("accuracy", LEFT + 6, TOP + 10)
    curves = {"before": found.before, "after": found.after}
    lines = "".join(line(name, curve, number) for number, (name, curve) in enumerate(curves.items()))
    said = "How often the answers are right by their confidence, before and after the calibration"
    return themed(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}" font-size="12">'
        f"{axes}{right}{ticks}{named}{lines}</svg>\n"
    )


def line(name: str, curve: Curve, number: int) -> str:
    """Return a curve with its name beside the square, as SVG; each point tells its rows."""
    role, dashes = LOOKS[name]
    colour = LIGHT[role]
    path = "L".join(f"{x_of(confidence)} {y_of(accuracy)}" for confidence, accuracy, _ in curve)
    points = "".join(
        f'<circle cx="{x_of(confidence)}" cy="{y_of(accuracy)}" r="3.5" style="fill: {colour}">'
        f"<title>{name}: confidence {confidence:.3f}, accuracy {accuracy:.3f}, {count:,} rows</title></circle>"
        for confidence, accuracy, count in curve
    )
    place = TOP + 20 + 22 * number
    key = f"M{LEFT + SIDE + 20} {place}h24"
    drawn = (
        f'<path d="M{path}{key}" fill="none" stroke-width="2" stroke-dasharray="{dashes}" style="stroke: {colour}"/>'
    )
    return drawn + points + words(name, LEFT + SIDE + 52, place + 4)


def words(text: str, x: float, y: float, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="fill: {LIGHT["faint"]}">{escape(text)}</text>'


def x_of(share: float) -> float:
    return round(LEFT + SIDE * share, 1)


def y_of(share: float) -> float:
    return round(TOP + SIDE * (1 - share), 1)
