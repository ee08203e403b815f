"""The rounding of figures in reports and tables, and where the gate's metric is passed on."""

GATE_METRIC = "gate.json"
"""The file among evaluate's results with the `metric` of a classifier's quality gate, by which compress judges, too."""
