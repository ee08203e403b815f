"""What a run came to, as rows of tables: the model's quality beside its baselines, and what compression changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]
Row = tuple[str, str, str, str]

UNCOMPRESSED = "torch fp32"
"""The uncompressed model's name in the speeds that `compress` measures."""
RATE = "_per_s"
"""Ends the name of a rate, which begins with its unit: rows, tokens, samples."""
NAMES = {
    "frechet_distance": "Fréchet distance",
    "test_frechet_distance": "Fréchet distance to the test split",
}
TESTED = {"frechet_distance": "test_frechet_distance"}
"""What compress measures on the test split, by the name that evaluate has for it."""
ONE_DIGIT = ("perplexity",)


def quality_table(report: Data, *, order: int | None = None) -> tuple[Row, list[Row]]:
    """The heads of the columns and the rows for a report of evaluate; no rows where it has no such figures.

    `order` is that of the n-grams that a language model is compared with.
    """
    interval = f"{report.get('confidence', 0.95):.0%} interval"
    if "frechet_distance" in report:
        return (f"{report['num_samples']:,} samples", "model", "real", "untrained"), sample_rows(report)
    rows = language_rows(report, order=order) if "bits_per_byte" in report else quality_rows(report)
    return ("on the test split", "model", interval, "baseline"), rows


def quality_rows(report: Data) -> list[Row]:
    """Each figure that has an interval and a baseline's beside it, and the gains; else each that has an interval."""
    with_interval = [key for key in report if f"{key}_low" in report and f"{key}_high" in report]
    compared = [key for key in with_interval if f"baseline_{key}" in report]
    rows = [figure(report, key) for key in (compared or with_interval) if not key.startswith("baseline_")]
    if not compared:
        return rows
    metric = shown(report.get("gate_metric", ""))
    named = {"gain": f"{metric} above the baseline", "pretraining_gain": "accuracy gained by pretraining"}
    named |= {f"control_{key}": f"{shown(key)} without pretraining" for key in compared}
    return rows + [figure(report, key, name=name) for key, name in named.items() if key in with_interval]


def language_rows(report: Data, *, order: int | None) -> list[Row]:
    """Bits per byte, how far they lie below each other system's, and perplexity."""
    grams = f"{order}-gram" if order else "n-gram"
    systems = {"byte_ngram": f"byte {grams}", "token_ngram": f"token {grams}", "xz": "xz -9"}
    rows = [
        figure(report, "bits_per_byte", baseline=f"{report['byte_ngram_bits_per_byte']:.3f} ({systems['byte_ngram']})")
    ]
    for key, name in systems.items():
        rows.append(
            figure(report, f"gain_{key}", name=f"below {name}", baseline=f"{report[f'{key}_bits_per_byte']:.3f}")
        )
    return [*rows, ("perplexity of a token", written("perplexity", report["perplexity"]), "", "")]


def sample_rows(report: Data) -> list[Row]:
    """A generator's figures beside those of real rows and of an untrained generator, where these have any."""
    return [
        beside(named("test_frechet_distance"), *(written("frechet_distance", report[key]) for key in
               ("test_frechet_distance", "real_frechet_distance"))),
        beside("to training and test rows", *(written("frechet_distance", report[key]) for key in
               ("frechet_distance", "real_frechet_distance", "untrained_frechet_distance"))),
        beside("to the nearest training row", *(f"{report[key]:.1f}" for key in
               ("nearest_distance", "real_nearest_distance"))),
        ("classes present", f"{report['num_classes_present']} of {report['num_classes']}", "", ""),
        (f"largest share, of {report['max_class']}", f"{report['max_class_share']:.3f}", "", ""),
        beside("diversity", f"{report['diversity']:.3f}", "1.000"),
    ]  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The one figure that a recipe is told by, as `modelyard recipes` and the README write it."""

    name: str
    model: str
    """Of the model that was trained, on the test split; empty before evaluate."""
    served: str
    """The same figure of the compressed model that is served, without its name; of a language model, what compression
    changed, since both are then read in another way. Empty before compress."""


def headline(evaluated: Data, compressed: Data) -> Headline:
    """From the reports of evaluate and compress, empty where there are none yet."""
    key = headline_key(evaluated)
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


def headline_key(evaluated: Data) -> str:
    """What a report of evaluate is told by."""
    for key in ("bits_per_byte", "test_frechet_distance"):
        if key in evaluated:
            return key
    metric: str = evaluated.get("gate_metric", "")
    return metric if metric in evaluated else ""


def figure(report: Data, key: str, *, name: str = "", baseline: str = "") -> Row:
    """A figure with its interval, and the baseline's beside it."""
    if not baseline and f"baseline_{key}" in report:
        baseline = f"{report[f'baseline_{key}']:.3f}"
    ends = f"{written(key, report[f'{key}_low'])} to {written(key, report[f'{key}_high'])}"
    return name or named(key), written(key, report[key]), ends, baseline


def beside(name: str, model: str, *others: str) -> Row:
    """A figure, and those of others."""
    first, second, third = (model, *others, "", "")[:3]
    return name, first, second, third


def size_rows(report: Data, speeds: Any) -> list[Row]:
    """What compression changed: the task's metric, bytes and, where they were measured here, rates and latency."""
    rows: list[Row] = []
    if "float_quality" in report:
        metric: str = report["metric"]
        name = named(TESTED.get(metric, metric))
        rows.append((name, written(metric, report["float_quality"]), written(metric, report["quality"]), ""))
    if "float_size_bytes" in report:
        before, after = report["float_size_bytes"], report["size_bytes"]
        rows.append(("size", f"{short(before / 1e6)} MB", f"{short(after / 1e6)} MB", f"{after / before:.2f} times"))
    sparsity = report.get("sparsity")
    chosen = (speeds or {}).get(f"{report.get('method')} {sparsity:g}" if sparsity else report.get("method"))
    before = (speeds or {}).get(UNCOMPRESSED)
    if chosen and before:
        rate = next(key for key in chosen if key.endswith(RATE))  # rows, tokens or samples
        speed = f"{before[rate]:,.0f}", f"{chosen[rate]:,.0f}", f"{chosen['speedup']:.1f} times"
        rows.append((rate.replace(RATE, "/s"), *speed))
        rows.append(("one request, p50", f"{short(before['p50_ms'])} ms", f"{short(chosen['p50_ms'])} ms", ""))
    return rows


def short(value: float) -> str:
    """With a digit after the point, or as many as show two."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def shown(name: str) -> str:
    """A figure's name in words."""
    return name.replace("_", " ")


def named(key: str) -> str:
    """A figure's name as people write it."""
    return NAMES.get(key, shown(key))


def written(key: str, value: float) -> str:
    """A figure with as many digits as everything here shows of it: three after the point, one of distances."""
    return f"{value:,.1f}" if key in ONE_DIGIT or key.endswith("frechet_distance") else f"{value:.3f}"


def seconds_rows(stages: Sequence[Data], total_s: float) -> tuple[list[str], str, str]:
    """The seconds of each stage, of what is beside them, and of all: as they are shown, they add up."""
    each = [round(stage["seconds"], 1) for stage in stages]
    total_s = max(round(total_s, 1), sum(each))
    return [f"{seconds:.1f}" for seconds in each], f"{total_s - sum(each):.1f}", f"{total_s:.1f}"
