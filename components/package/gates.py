"""The gates that a bundle has passed, each with its figure and its limit, for the manifest, the card and the page.

A bundle is made only of what passed: a stage whose gate failed leaves no artifact. `value` is None where a gate is a
plain yes or no, for a speed, which is an observation and stands in provenance.json, and for what only looks at the
model, whose figures are on its page.
"""

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, TypedDict

from components.params import Behaviour
from components.params.behaviour import title

DIGITS = 6

Drop = Callable[[float, float], float]
"""A function of the float model's quality and another's that returns by how much the other is worse: a task's
`drop`."""

Bound = Literal["at least", "at most", "above"]


class Gate(TypedDict):
    """One limit, with the measured figure."""

    stage: str
    figure: str
    value: float | None
    bound: Bound
    limit: float


def gates_passed(*, reports: Mapping[str, Any], params: Mapping[str, Any], num_golden: int, drop: Drop) -> list[Gate]:
    """Return every gate that the bundle passed, in the order of the stages; `params` holds the stages' sections by
    name."""
    evaluate, compress = (params.get(stage, {}).get("gate", {}) for stage in ("evaluate", "compress"))
    asked = params.get("evaluate", {})
    expectations = reports["verdict"].get("expectations", [])
    met = sum(expectation["success"] for expectation in expectations)
    return [
        gate("validate", "expectations of the data contract met", met, "at least", len(expectations)),
        gate("preprocess", "rows that come again in another split", None, "at most", 0),
        *quality_gates(evaluate, reports["evaluated"]),
        *behaviour_gates(asked.get("behaviour")),
        *compression_gates(compress, reports["compressed"], drop=drop),
        *precision_gates(asked.get("calibrate")),
        gate("package", "requests answered as the measured model did", num_golden, "at least", num_golden),
        *batch_gates(reports["compressed"]),
    ]


def gate(stage: str, figure: str, value: float | None, bound: Bound, limit: float) -> Gate:
    return Gate(stage=stage, figure=figure, value=value, bound=bound, limit=limit)


def quality_gates(limits: Mapping[str, Any], evaluated: Mapping[str, Any]) -> Generator[Gate]:
    """Yield the gates of evaluate for any task: the name of a limit contains its figure, or the section names the
    metric."""
    for name, limit in limits.items():
        if limit is None or name in ("metric", "beat"):
            continue
        if name == "min":
            yield gate("evaluate", limits["metric"], evaluated[limits["metric"]], "at least", limit)
        elif name == "min_gain":
            for gain in [f"gain_{baseline}" for baseline in limits.get("beat", ())] or ["gain"]:
                yield gate("evaluate", f"{gain}, lower end", evaluated[f"{gain}_low"], "above", limit)
        else:
            figure = name if name in evaluated else name.partition("_")[2]
            bound = "at least" if name.startswith("min_") else "at most"
            yield gate("evaluate", figure, evaluated[figure], bound, limit)


def behaviour_gates(behaviour: Mapping[str, Any] | None) -> Generator[Gate]:
    """Yield the limits of the checks of behaviour, as far as they have one."""
    if behaviour is None:
        return
    for check in Behaviour.model_validate_json(json.dumps(behaviour)).checks:
        if check.max_failures is not None:
            yield gate("evaluate", f"texts that fail the check '{title(check)}'", None, "at most", check.max_failures)


def precision_gates(calibrate: Mapping[str, Any] | None) -> Generator[Gate]:
    """Yield the precision that answers must surely have on the validation split where they do not abstain."""
    if calibrate is not None and calibrate["precision"] is not None:
        yield gate("compress", "right ones among the surest answers", None, "at least", calibrate["precision"])


def compression_gates(limits: Mapping[str, Any], compressed: Mapping[str, Any], *, drop: Drop) -> Generator[Gate]:
    """Yield the gates of compress, whose figures are of the validation split."""
    if not limits:
        return
    dropped = drop(compressed["float_validation_quality"], compressed["validation_quality"])
    worse = f"{compressed['metric']}, worse than the float model's"
    yield gate("compress", worse, round(dropped, DIGITS), "at most", limits["max_drop"])
    yield gate("compress", "size_ratio", compressed["size_ratio"], "at most", limits["max_size_ratio"])
    yield gate("compress", "speedup", None, "at least", limits["min_speedup"])
    if (least := limits.get("min_batched_speedup")) is not None:
        yield gate("compress", "speedup beside batches", None, "at least", least)
    if (most := limits.get("max_p99_ms")) is not None:
        yield gate("compress", "p99 of single rows, ms", None, "at most", most)


def batch_gates(compressed: Mapping[str, Any]) -> Generator[Gate]:
    """Yield the gate of a model that takes several rows a call, which compress sets and package proves."""
    if compressed["batch_size"] > 1:
        yield gate("package", "requests whose answer depends on what else is asked", 0, "at most", 0)
