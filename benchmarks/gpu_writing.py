"""What benchmarks/gpu.py found, in words and tables."""

from collections.abc import Mapping
from typing import Any

MAX_ERROR = 1e-4
"""The largest relative error of a gradient in fp32."""
SHARE_OF_RATE = 0.5
"""The share of the card's bf16 rate that is asked of the language model."""


def faults_of(found: Mapping[str, Any]) -> list[str]:
    """Return what does not hold, in words."""
    faults: list[str] = [*found["faults"]]
    for family, of in found["families"].items():
        error = of.get("correctness", {}).get("device_fp32", 0.0)
        if not error <= MAX_ERROR:
            faults.append(f"{family}: the gradients in fp32 are off by {error:.1e}, more than {MAX_ERROR:.0e}")
        if not of.get("resume", {}).get("is_exact", True):
            faults.append(f"{family}: a training that was stopped did not end with the same weights")
    return faults


def table_of(found: Mapping[str, Any]) -> str:
    """Return the families as lines of a Markdown table."""
    titles = (
        "family", "parameters", "error fp32 (CPU)", "error bf16", "resumes", "a second", "step", "of the rate", "peak",
        "estimated",
    )  # fmt: skip
    lines = [titles, ("---",) * len(titles)]
    for family, of in found["families"].items():
        errors, speed = of.get("correctness", {}), of.get("speed", {})
        peak = speed.get("peak_bytes")
        lines.append((
            family,
            f"{speed['num_parameters'] / 1e6:.2f} M" if speed else "-",
            f"{errors['device_fp32']:.1e} ({errors['cpu_fp32']:.1e})" if errors else "-",
            f"{errors['device_bf16']:.1e}" if errors else "-",
            ("exactly" if of["resume"]["is_exact"] else "NOT EXACTLY") if "resume" in of else "-",
            f"{speed['units_per_s']:,.0f} {speed['unit']}" if speed else "-",
            f"{speed['step_s'] * 1e3:,.1f} ms" if speed else "-",
            f"{speed['share_of_rate']:.1%}" if speed else "-",
            f"{peak / 1e9:.3f} GB" if peak else "-",
            f"{speed['estimated_bytes'] / 1e9:.3f} GB" if speed else "-",
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(found: Mapping[str, Any], *, started: float) -> None:
    """Write the section of results.md."""
    from results import Row, Section

    rows: list[Row] = []
    for family, of in found["families"].items():
        errors, speed = of.get("correctness", {}), of.get("speed", {})
        if errors:
            cpu = f"{errors['cpu_fp32']:.1e} on the CPU; {errors['device_bf16']:.1e} in bf16"
            rows.append(Row(
                f"{family}: error of a step's gradients in fp32", [errors["device_fp32"]], peer=cpu, unit="",
                at_most=MAX_ERROR,
            ))  # fmt: skip
        if "resume" in of:
            rows.append(
                Row(f"{family}: resumes exactly (1 is yes)", [float(of["resume"]["is_exact"])], unit="", at_least=1)
            )
        if speed:
            rate = f"{speed['units_per_s']:,.0f} {speed['unit']}/s, {speed['step_s'] * 1e3:,.1f} ms a step"
            asked = SHARE_OF_RATE if family.startswith("gpt") else None
            rows.append(
                Row(
                    f"{family}: share of the card's bf16 rate", [speed["share_of_rate"]], rate, unit="%", at_least=asked
                )
            )
        if speed.get("peak_bytes"):
            peaks = [f"{speed[name] / 1e9:.3f} GB" for name in ("peak_bytes", "estimated_bytes")]
            rows.append(Row(
                f"{family}: peak memory over the estimate", [speed["peak_bytes"] / speed["estimated_bytes"]], peaks[0],
                peaks[1],
            ))  # fmt: skip
    Section("gpu", began=started).record(rows, notes=found["faults"], device=found["machine"]["device"])
