"""The presentation of the candidates: a line each, speeds.json, and a page with their table and plot. All of it holds
times of this machine, so it is an observation."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.compress.choice import Candidate, best_of, figures_of, front_of, in_words, limits_of
from components.compress.measure import Speed
from components.compress.plot import Point, draw_tradeoff
from components.compress.trial import CompressionTrial, FloatFigures
from components.params import CompressionGate
from components.plumbing.artifacts import write_json, write_text
from components.plumbing.pages import document, table
from components.plumbing.plots import Drawing, figure_of, save_drawings
from components.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

FLOAT = "torch fp32"
FLOAT_BATCHED = "torch fp32 in batches"
SPEEDS = "speeds.json"
PAGE = "candidates.html"
PLOT = "candidates"
SHOWN_LINES = 12
"""The most candidates of which a line is logged; the page has all."""


def observe(
    folder: Path, tracker: Tracker, trial: CompressionTrial[Any], candidates: Sequence[Candidate],
    speeds: Mapping[str, Speed], judged: FloatFigures, *, gate: CompressionGate, worst: float,
) -> None:  # fmt: skip
    """Write what was measured on this machine of every candidate, and log a line for each on the front.

    `worst` is the worst quality within the limits.
    """
    front = front_of(candidates, speeds)
    for candidate in candidates if len(candidates) <= SHOWN_LINES else front:
        logger.info("%s", described(candidate, speeds[candidate.name], trial, judged.quality.value))
    by_name = {name: figures_of(speed, trial.unit) for name, speed in speeds.items()}
    if FLOAT_BATCHED not in by_name:
        by_name[FLOAT_BATCHED] = {f"{trial.unit}_per_s": judged.units_per_s}
    write_json(folder / SPEEDS, by_name)
    missed = {
        one.name: in_words([
            limit for limit in limits_of(
                one, speeds[one.name], gate, metric=trial.metric, unit=trial.unit, float_quality=judged.quality.value
            ) if limit.miss
        ])
        for one in candidates
    }  # fmt: skip
    chosen = best_of([one for one in candidates if not missed[one.name]])
    drawing = drawing_of(trial, candidates, speeds, judged, front=front, missed=missed, chosen=chosen, worst=worst)
    save_drawings(folder, {PLOT: drawing})
    write_text(folder / PAGE, page_of(trial, candidates, speeds, judged, drawing, missed=missed, chosen=chosen))
    tracker.log_file(folder / SPEEDS)
    tracker.log_file(folder / PAGE)
    tracker.log_file(folder / f"{PLOT}.png", folder="plots")


def described(candidate: Candidate, speed: Speed, trial: CompressionTrial[Any], float_quality: float) -> str:
    """Return one line of text on a candidate's quality, size and speed."""
    return (
        f"{candidate.name}: on the validation split {words_of(trial.metric)} {candidate.quality:.3f} (trained "
        f"{float_quality:.3f}); {candidate.size_bytes / 1e6:.2g} MB, {candidate.size_ratio:.2f} times; "
        f"{speed.units_per_s:,.0f} {trial.unit}/s, {speed.speedup:.1f} times"
    )


def drawing_of(
    trial: CompressionTrial[Any], candidates: Sequence[Candidate], speeds: Mapping[str, Speed], judged: FloatFigures, *,
    front: Sequence[Candidate], missed: Mapping[str, str], chosen: Candidate | None, worst: float,
) -> Drawing:  # fmt: skip
    value = judged.quality.value
    reference = FLOAT_BATCHED if FLOAT_BATCHED in speeds else FLOAT
    points = [Point(0, speeds[reference].units_per_s, value, value, value, trial.float_size_bytes, True, False, False)]
    for number, one in enumerate(candidates, start=1):
        low, high = interval_of(one, is_error=worst > value)
        points.append(Point(
            number, speeds[one.name].units_per_s, one.quality, low, high, one.size_bytes, not missed[one.name],
            one in front, one is chosen,
        ))  # fmt: skip
    metric = words_of(trial.metric)
    return Drawing(
        lambda: draw_tradeoff(points, metric=metric, unit=trial.unit, floor=(worst, "limit of the quality")),
        words=f"Each candidate by its {trial.unit} per second and its {metric} on the validation split, with the "
        f"interval of the difference from the float model's; the area of a point is its size.",
    )  # fmt: skip


def interval_of(one: Candidate, *, is_error: bool) -> tuple[float, float]:
    """Return the quality at both ends of the interval of the loss; the quality itself where there is no interval.

    `is_error` says that a lower quality is the better one, as of bits per byte.
    """
    if one.drop_ends is None:
        return one.quality, one.quality
    low, high = (end - one.drop for end in one.drop_ends)
    ends = (one.quality + low, one.quality + high) if is_error else (one.quality - high, one.quality - low)
    return min(ends[0], one.quality), max(ends[1], one.quality)


def page_of(
    trial: CompressionTrial[Any], candidates: Sequence[Candidate], speeds: Mapping[str, Speed], judged: FloatFigures,
    drawing: Drawing, *, missed: Mapping[str, str], chosen: Candidate | None,
) -> str:  # fmt: skip
    """Return the page on all candidates, as HTML."""
    metric, unit = words_of(trial.metric), trial.unit
    head = [
        "", "network", "method", metric, "worse by", f"{unit}/s", "times torch", "times it in batches", "p50 ms",
        "p99 ms", "MB", "of the bytes", "batch", "outside of the limits",
    ]  # fmt: skip
    rows = [float_row(FLOAT, speeds[FLOAT], trial, judged)]
    if FLOAT_BATCHED in speeds:
        rows.append(float_row(FLOAT_BATCHED, speeds[FLOAT_BATCHED], trial, judged))
    for number, one in enumerate(candidates, start=1):
        speed = speeds[one.name]
        rows.append([
            str(number), one.network, one.name.removesuffix(f", {one.network}"),
            f"{one.quality:.4f}", told(one), *rates(speed), f"{one.size_bytes / 1e6:.3g}", f"{one.size_ratio:.3f}",
            str(one.batch_size), "chosen" if one is chosen else missed[one.name],
        ])  # fmt: skip
    caption = (
        f"Quality on the {trial.num_validation:,} rows of the validation split. The best of several is a little too "
        "good there; the report has the chosen one's figures on the test split."
    )
    body = f"<main>\n{figure_of(drawing)}\n{table(head, rows, kinds={'chosen': 'good'}, caption=caption)}\n</main>"
    return document("Candidates of compress", "Candidates", body)


def float_row(name: str, speed: Speed, trial: CompressionTrial[Any], judged: FloatFigures) -> list[str]:
    size = f"{trial.float_size_bytes / 1e6:.3g}"
    return ["", "as trained", name, f"{judged.quality.value:.4f}", "", *rates(speed), size, "1", "", ""]


def rates(speed: Speed) -> list[str]:
    batched = "" if speed.batched_speedup is None else f"{speed.batched_speedup:.2f}"
    return [f"{speed.units_per_s:,.0f}", f"{speed.speedup:.2f}", batched, f"{speed.p50_ms:.3g}", f"{speed.p99_ms:.3g}"]


def told(one: Candidate) -> str:
    """Return by how much a candidate is worse, with its interval where there is one."""
    if one.drop_ends is None:
        return f"{one.drop:z.4f}"
    low, high = one.drop_ends
    return f"{one.drop:z.4f} ({low:z.4f} to {high:z.4f})"


def words_of(name: str) -> str:
    return name.replace("_", " ")


def log_chosen(tracker: Tracker, unit: str, speeds: Mapping[str, Speed], chosen: str, judged: FloatFigures) -> None:
    """Log the speed of the chosen model and of torch as metrics."""
    reference = speeds[FLOAT]
    of_float = {f"float_{name}": value for name, value in figures_of(reference, unit).items() if "speedup" not in name}
    batched_rate = speeds[FLOAT_BATCHED].units_per_s if FLOAT_BATCHED in speeds else judged.units_per_s
    batched = {f"float_batched_{unit}_per_s": batched_rate}
    tracker.log_metrics({**figures_of(speeds[chosen], unit), **of_float, **batched}, step=0)
