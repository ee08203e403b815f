"""How figures are written."""

DIGITS = 6  # finer than any test split can tell apart


def rounded(value: float) -> float:
    """A figure as it is written, without a negative zero."""
    return round(float(value), DIGITS) + 0.0


def shortened(value: float) -> float:
    """A figure as a table shows it: five significant digits."""
    return float(f"{value:.5g}")
