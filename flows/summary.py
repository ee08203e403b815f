"""What a run came to, as rows of tables: the model's quality beside its baselines, and what compression changed."""

from typing import Any

Data = dict[str, Any]
Row = tuple[str, str, str, str]

UNCOMPRESSED = "torch fp32"
"""The uncompressed model's name in the speeds that `compress` measures."""
RATE = "_per_s"
"""Ends the name of a rate, which begins with its unit: rows, tokens, samples."""


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
    return [*rows, ("perplexity of a token", f"{report['perplexity']:.1f}", "", "")]


def sample_rows(report: Data) -> list[Row]:
    """A generator's figures beside those of real rows and of an untrained generator, where these have any."""
    return [
        beside("Fréchet distance", report["frechet_distance"], report["real_frechet_distance"],
               report["untrained_frechet_distance"]),
        beside("from the test split alone", report["test_frechet_distance"], report["real_frechet_distance"]),
        beside("to the nearest training row", report["nearest_distance"], report["real_nearest_distance"]),
        ("classes present", f"{report['num_classes_present']} of {report['num_classes']}", "", ""),
        (f"largest share, of {report['max_class']}", f"{report['max_class_share']:.3f}", "", ""),
        beside("diversity", report["diversity"], 1.0),
    ]  # fmt: skip


def figure(report: Data, key: str, *, name: str = "", baseline: str = "") -> Row:
    """A figure with its interval, and the baseline's beside it."""
    if not baseline and f"baseline_{key}" in report:
        baseline = f"{report[f'baseline_{key}']:.3f}"
    ends = f"{report[f'{key}_low']:.3f} to {report[f'{key}_high']:.3f}"
    return name or shown(key), f"{report[key]:.3f}", ends, baseline


def beside(name: str, model: float, *others: float) -> Row:
    """A figure, and those of others."""
    cells = [f"{value:,.3f}" if value < 100 else f"{value:,.0f}" for value in (model, *others)]
    first, second, third = (*cells, "", "")[:3]
    return name, first, second, third


def size_rows(report: Data, speeds: Any) -> list[Row]:
    """What compression changed: the task's metric, bytes and, where they were measured here, rates and latency."""
    rows: list[Row] = []
    if "float_quality" in report:
        rows.append(
            (f"test {shown(report['metric'])}", f"{report['float_quality']:.3f}", f"{report['quality']:.3f}", "")
        )
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
