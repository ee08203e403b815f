"""The result of a run as rows of tables: the model's quality beside its baselines, and what compression changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]
Row = tuple[str, str, str, str]

UNCOMPRESSED = "torch fp32"
"""The uncompressed model's name in the speeds that `compress` measures."""
RATE = "_per_s"
"""The ending of the name of a rate, which begins with its unit: rows, tokens, samples."""
NAMES = {
    "frechet_distance": "Fréchet distance",
    "test_frechet_distance": "Fréchet distance to the test split",
}
TESTED = {"frechet_distance": "test_frechet_distance"}
"""By the name that evaluate has for it, a figure that compress measures on the test split, with its name there."""
ONE_DIGIT = ("perplexity",)


@dataclass(frozen=True)
class Summary:
    """The functions that put a task's report of evaluate into a table and into one figure."""

    table: Callable[[Data, int | None], tuple[Row, list[Row]]]
    """The heads of the columns and the rows of a report; the number is the order of the n-grams that a language model
    is compared with, where that is known."""
    headline: Callable[[Data], str]
    """The key of the one figure that the model is judged by; empty where the report has none yet."""


def classifier_table(report: Data, _order: int | None) -> tuple[Row, list[Row]]:
    """Return a classifier's figures with their intervals, beside the baseline's."""
    return heads_with_interval(report), quality_rows(report)


def classifier_headline(report: Data) -> str:
    """Return the key of the gate's metric; empty where the report does not have it."""
    metric: str = report.get("gate_metric", "")
    return metric if metric in report else ""


def heads_with_interval(report: Data) -> Row:
    """Return the heads of a table whose figures have intervals."""
    return "on the test split", "model", f"{report.get('confidence', 0.95):.0%} interval", "baseline"


def quality_rows(report: Data) -> list[Row]:
    """Return a row for each figure that has an interval and a baseline's beside it, and for the gains; without a
    baseline, for each that has an interval."""
    with_interval = [key for key in report if f"{key}_low" in report and f"{key}_high" in report]
    compared = [key for key in with_interval if f"baseline_{key}" in report]
    rows = [figure(report, key) for key in (compared or with_interval) if not key.startswith("baseline_")]
    if not compared:
        return rows
    metric = shown(report.get("gate_metric", ""))
    named = {
        "gain": f"{metric} above {report.get('baseline', 'the baseline')}",
        "pretraining_gain": "accuracy gained by pretraining",
    }
    named |= {f"control_{key}": f"{shown(key)} without pretraining" for key in compared}
    return rows + [figure(report, key, name=name) for key, name in named.items() if key in with_interval]


@dataclass(frozen=True)
class Headline:
    """The one figure that a recipe is judged by, as `modelyard recipes` and the README write it."""

    name: str
    model: str
    """The figure of the trained model on the test split, with its name; empty before evaluate."""
    served: str
    """The same figure of the compressed model that is served, without its name; of a language model, what compression
    changed, since both are then read in another way. Empty before compress."""


def headline(summary: Summary, evaluated: Data, compressed: Data) -> Headline:
    """Return the headline of the reports of evaluate and compress, with empty parts where there are none yet."""
    key = summary.headline(evaluated)
    if not key:
        return Headline("", "", "")
    name = named("frechet_distance" if key.endswith("frechet_distance") else key)
    served = ""
    if "quality" in compressed:
        quality, metric = compressed["quality"], compressed["metric"]
        is_same = round(compressed["float_quality"], 4) == round(evaluated[key], 4) and named(metric) == name
        change = quality - compressed["float_quality"]
        served = written(metric, quality) if is_same else f"{change:+.4f}"
    return Headline(name, f"{name} {written(key, evaluated[key])}", served)


def figure(report: Data, key: str, *, name: str = "", baseline: str = "") -> Row:
    """Return a row with a figure, its interval, and the baseline's beside it."""
    if not baseline and f"baseline_{key}" in report:
        baseline = f"{report[f'baseline_{key}']:.3f}"
    ends = f"{written(key, report[f'{key}_low'])} to {written(key, report[f'{key}_high'])}"
    return name or named(key), written(key, report[key]), ends, baseline


def beside(name: str, model: str, *others: str) -> Row:
    """Return a row with a figure, and those of at most two others."""
    first, second, third = (model, *others, "", "")[:3]
    return name, first, second, third


def size_rows(report: Data, speeds: Any) -> list[Row]:
    """Return rows on what compression changed: the task's metric, bytes and, where they were
    measured here, rates and latency."""
    rows: list[Row] = []
    if "float_quality" in report:
        metric: str = report["metric"]
        name = named(TESTED.get(metric, metric))
        rows.append((name, written(metric, report["float_quality"]), written(metric, report["quality"]), ""))
    if "float_size_bytes" in report:
        before, after = report["float_size_bytes"], report["size_bytes"]
        rows.append(("size", f"{short(before / 1e6)} MB", f"{short(after / 1e6)} MB", f"{after / before:.2f} times"))
    chosen = (speeds or {}).get(report.get("candidate"))
    before = (speeds or {}).get(UNCOMPRESSED)
    if chosen and before:
        rate = next(key for key in chosen if key.endswith(RATE))  # rows, tokens or samples
        speed = f"{before[rate]:,.0f}", f"{chosen[rate]:,.0f}", f"{chosen['speedup']:.1f} times"
        rows.append((rate.replace(RATE, "/s"), *speed))
        rows.append(("one request, p50", f"{short(before['p50_ms'])} ms", f"{short(chosen['p50_ms'])} ms", ""))
    return rows


def short(value: float) -> str:
    """Write a number with a digit after the point from 1 on, or with two significant digits below."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def shown(name: str) -> str:
    """Return a figure's name in words."""
    return name.replace("_", " ")


def named(key: str) -> str:
    """Return a figure's name as people write it."""
    return NAMES.get(key, shown(key))


def written(key: str, value: float) -> str:
    """Write a figure with the digits that are used everywhere: three after the point, one for
    distances and perplexity."""
    return f"{value:,.1f}" if key in ONE_DIGIT or key.endswith("frechet_distance") else f"{value:.3f}"


def seconds_rows(stages: Sequence[Data], total_s: float) -> tuple[list[str], str, str]:
    """Return the seconds of each stage, of what is beside them, and of all, as text; the rounded numbers add up."""
    each = [round(stage["seconds"], 1) for stage in stages]
    total_s = max(round(total_s, 1), sum(each))
    return [f"{seconds:.1f}" for seconds in each], f"{total_s - sum(each):.1f}", f"{total_s:.1f}"


CLASSIFIER = Summary(classifier_table, classifier_headline)
