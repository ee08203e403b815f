"""The rounding of figures in reports and tables, and where the gate's metric is passed on."""

GATE_METRIC = "gate.json"
"""The file among evaluate's results with what compress judges and calibrates scores by, too: the `metric` of a
classifier's quality gate, the number of `calibration_bins`, the section `calibrate`, and the `confidence` of bounds."""
DIGITS = 6  # finer than any test split can tell apart


def rounded(value: float) -> float:
    """Round a figure to DIGITS decimals for a report, without a negative zero."""
    return round(float(value), DIGITS) + 0.0


def shortened(value: float) -> float:
    """Round a figure to five significant digits for a table."""
    return float(f"{value:.5g}")
