"""The headline of a pipeline run, by which runs are compared: the settings that decide what the model is, and the
figures that say how good it is.

A stage's own run in MLflow has all of its parameters and its whole report; the pipeline's run, which is the parent of
those, and the registered model have these.
"""

from collections.abc import Mapping
from typing import Any

FIGURES: Mapping[str, tuple[str, ...]] = {
    "evaluate": (
        "accuracy", "accuracy_low", "accuracy_high", "f1_macro", "f1_macro_low", "f1_macro_high", "mcc", "ece",
        "baseline_accuracy", "gain", "gain_low", "gain_high",
        "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high", "perplexity", "xz_bits_per_byte",
        "token_ngram_bits_per_byte", "gain_xz", "gain_xz_low", "gain_xz_high",
        "frechet_distance", "frechet_ratio", "real_frechet_distance", "untrained_frechet_distance", "diversity",
    ),
}  # fmt: skip
"""By stage, the figures of its report that are taken, as far as the task has them; `_low` and
`_high` are an interval's ends."""
SERVED = ("agreement", "size_bytes", "size_ratio", "speedup")
"""The figures of compress's report on the served model beside the float one; each, like its
quality, is named `served_…`."""
LEFT_OUT = (
    "ingest.", "validate.", "evaluate.", "package.", "compress.gate.", "compress.num_latency_rows", "compress.threads",
    "preprocess.max_unknown_share",
)  # fmt: skip
"""How the names of settings begin that do not decide what the model is, or only with the data,
which has its own digest."""
MAX_CHARACTERS = 6000
"""The most characters of a parameter's value in MLflow."""


def figures_of(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the headline figures of what stages reported, given by stage."""
    found: dict[str, float] = {}
    compressed = reports.get("compress", {})
    metric = compressed.get("metric", "")
    judged_by = (metric, f"{metric}_low", f"{metric}_high", f"baseline_{metric}")  # whatever else the task has
    for stage, names in FIGURES.items():
        report = reports.get(stage, {})
        found |= {name: float(report[name]) for name in (*names, *judged_by) if is_number(report.get(name))}
    found |= {f"served_{name}": float(compressed[name]) for name in SERVED if is_number(compressed.get(name))}
    if is_number(compressed.get("quality")):
        found[f"served_{compressed.get('metric', 'quality')}"] = float(compressed["quality"])
    return found


def settings_of(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the settings that matter of the given stages, each by its path: `finetune.optimizer.learning_rate`."""
    found = {
        f"{stage}.{name}": str(value)[:MAX_CHARACTERS]
        for stage, section in sections.items()
        for name, value in flatten(section).items()
        if value not in (None, "None")
    }
    return {name: value for name, value in found.items() if not name.startswith(LEFT_OUT)}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as `a.b.c: value`; a list stays one value."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return flat


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
