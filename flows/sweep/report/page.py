"""The HTML page of a search over settings: what was best, the plots, and a table of the trials. It loads nothing from
anywhere."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from components.params.sweep import Choice, Range, Sweep
from components.plumbing.artifacts import write_text
from components.plumbing.pages import document, table
from flows.sweep.judging.front import best_of, costs_of, figure_of, front_of, in_digits, is_within, ranked
from flows.sweep.report.plots import draw_plots, short_names
from flows.sweep.report.scales import OFF, is_same, is_whole, words_of
from flows.sweep.trials.trial import PRESENT, State, Trial

REPORT = "report.html"
MAX_ROWS = 200
MAX_CHOICES = 8
MAX_REASON = 240
KINDS: Mapping[State, str] = {"done": "good", "pruned": "note", "failed": "alarm"}
ALT = {
    "pareto": "Two objectives of each trial, with the Pareto front",
    "history": "The objective of each trial by its number",
    "importance": "How much each setting matters",
    "parallel": "The settings of each trial as a line",
    "curves": "The objective of each trial by epoch",
}
PX = 96, 66
"""Pixels of the page for an inch of a picture: at most, and, on a narrow window that then scrolls it, at least."""
JOINED = "\N{NO-BREAK SPACE}"


def write_page(
    folder: Path, recipe: str, sweep: Sweep, trials: Sequence[Trial], importances: Mapping[str, float],
    *, verdict: Mapping[str, Any] | None, best: Trial | None = None, words: str = "",
) -> list[Path]:  # fmt: skip
    """Write report.html and its plots as PNG into a folder; return the PNGs' paths. `best` is the trial that was
    chosen; by default the best by the first objective. `words` say what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    best = best or best_of(trials, sweep)
    widths = draw_plots(folder, sweep, trials, importances, best=best)
    pictures = "\n".join(picture(path, width) for path, width in widths.items())
    parts = [
        f"<p>{escape(summary(sweep, trials, best))}</p>",
        f'<p class="note">{escape(caution(trials))}</p>',
        verdict_part(verdict or {}, words),
        front_part(sweep, trials),
        f'<h2>Pictures</h2>\n<div class="pictures">\n{pictures}\n</div>' if pictures else "",
        f"<h2>Settings</h2>\n{settings_table(sweep, trials, best)}",
        trials_part(sweep, trials),
    ]
    page = document(f"{recipe}: search over settings", escape(recipe), "\n".join(part for part in parts if part))
    write_text(folder / REPORT, page)
    return list(widths)


def summary(sweep: Sweep, trials: Sequence[Trial], best: Trial | None) -> str:
    """Return one sentence: the best trial beside the present settings, and how the trials ended."""
    counts = {state: sum(trial.state == state for trial in trials) for state in KINDS}
    are = "is" if counts["done"] == 1 else "are"
    ended = (
        f"of {counted(len(trials), 'trial')}, {counts['done']:,} {are} done, {counts['pruned']:,} pruned and "
        f"{counts['failed']:,} failed"
    )
    if sweep.constraints:
        ended += f"; {sum(is_within(trial, sweep) for trial in trials):,} keep the constraints"
    name = sweep.objectives[0]
    if best is None and sweep.constraints and counts["done"]:
        return f"No trial is within the constraints yet; {ended}."
    if best is None:
        return f"No trial has a {name} yet; {ended}."
    if best.number == PRESENT:
        return f"No trial is better than the present settings, whose {name} is {best.value:z.5g}; {ended}."
    known = next((figure_of(trial, name, sweep) for trial in trials if trial.number == PRESENT), None)
    present = "not known" if known is None else f"{known:z.5g}"
    is_best = "is the best" if ranked(trials, sweep)[0][0].number == best.number else "was chosen from the front"
    its = f"its {name} is {best.value:z.5g}, that of the present settings {present}"
    return f"Trial {best.number} {is_best}: {its}; {ended}."


def caution(trials: Sequence[Trial]) -> str:
    """Return a remark on what the best of several is worth."""
    num_done = sum(trial.state == "done" for trial in trials)
    if num_done < 2:
        return "All figures but those of a verdict are of the validation split."
    return (
        f"All figures but those of a verdict are of the validation split. The best of {num_done} is in part the "
        "luckiest, so expect a little less of it elsewhere."
    )


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def verdict_part(verdict: Mapping[str, Any], words: str) -> str:
    """Return what the comparison on the test split says, or in words why there is none."""
    if not verdict and not words:
        return ""
    rows = [(name, f"{value:z.6g}" if isinstance(value, float) else str(value)) for name, value in verdict.items()]
    said = f"<p>{escape(words[:1].upper() + words[1:])}.</p>\n" if words else ""
    return f"<h2>Verdict</h2>\n{said}{table((), rows) if rows else ''}"


def front_part(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Return the table of the Pareto front, the best by the first objective on top; nothing with one objective."""
    front = front_of(trials, sweep)[:MAX_ROWS] if len(sweep.objectives) > 1 else []
    if not front:
        return ""
    rows = [(str(one.number or "present"), *figures_in(one, sweep)) for one in front]
    note = '<p class="note">No trial is better than one of these in all of the objectives.</p>'
    return f"<h2>Front</h2>\n{table(('trial', *sweep.figures), rows)}\n{note}"


def figures_in(trial: Trial, sweep: Sweep) -> list[str]:
    """Return all that a trial is judged by, as cells of a table."""
    return [in_digits(figure_of(trial, name, sweep)) for name in sweep.figures]


def picture(path: Path, inches: float) -> str:
    """Return a PNG as a part of the page, which scrolls where it is wide."""
    most, least = (round(inches * px) for px in PX)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    look = f"width: {most}px; max-width: 100%; min-width: {least}px; background: #fff"
    alt = escape(ALT[path.stem])
    return (
        '<div class="scroll" tabindex="0" style="max-width: 100%">'
        f'<img alt="{alt}" style="{look}" src="data:image/png;base64,{data}"></div>'
    )


def settings_table(sweep: Sweep, trials: Sequence[Trial], chosen: Trial | None) -> str:
    """Return what was tried for each setting, its present value, and that of the best trial."""
    best = [chosen] if chosen is not None else []
    present = [trial for trial in trials if trial.number == PRESENT]
    head = ("setting", "tried", *("present" for _ in present), *(f"trial {trial.number}, the best" for trial in best))
    rows = [
        (path, tried(one), *(value_of(trial, path) for trial in (*present, *best)))
        for path, one in sweep.space.items()
    ]  # fmt: skip
    return table(head, rows)


def value_of(trial: Trial, path: str) -> str:
    return words_of(trial.settings[path]) if path in trial.settings else "not drawn"


def tried(one: Choice | Range) -> str:
    """Return in words what may be drawn for a setting."""
    if isinstance(one, Choice):
        more = len(one.choices) - MAX_CHOICES
        words = ", ".join(map(words_of, one.choices[:MAX_CHOICES])) + (f" and {more} more" if more > 0 else "")
    else:
        low, high = map(words_of, one.ends)
        kind = "by its logarithm" if one.log else "a whole number" if is_whole(one) else ""
        words = f"{low} to {high}" + (f", {kind}" if kind else "")
    for path, wanted in (one.when or {}).items():
        values = " or ".join(map(words_of, wanted if isinstance(wanted, tuple) else (wanted,)))
        words += f"; where {path} is {values}"
    return words


def trials_part(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Return the table of the trials: what is done, best first, then what was pruned, then what failed."""
    if not trials:
        return ""
    order = list[State](KINDS)

    def rank(trial: Trial) -> tuple[int, bool, float, int]:
        is_beyond = trial.state == "done" and not is_within(trial, sweep)
        return order.index(trial.state), is_beyond, costs_of(trial, sweep)[0], trial.number

    kept = sorted(trials, key=rank)[:MAX_ROWS]
    names = short_names([*sweep.space, *(path for trial in kept for path in trial.settings)])
    present = next((trial.settings for trial in trials if trial.number == PRESENT), {})
    has_reasons = any(trial.reason for trial in kept)
    head = ("trial", "", *sweep.figures, "seconds", "settings that differ", *(["reason"] if has_reasons else []))
    rows = [
        (
            str(trial.number),
            trial.state,
            *figures_in(trial, sweep),
            f"{trial.seconds:,.1f}",
            differing(trial, present, names),
            *([cut(trial.reason)] if has_reasons else []),
        )
        for trial in kept
    ]
    left_out = len(trials) - len(kept)
    note = f'<p class="note">{counted(left_out, "trial")} more, worse than these, left out.</p>' if left_out else ""
    return f"<h2>Trials</h2>\n{table(head, rows, kinds={**KINDS})}\n{note}"


def differing(trial: Trial, present: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if trial.number == PRESENT:
        return "the present settings"
    changed = [path for path, value in trial.settings.items() if not is_same(value, present.get(path, OFF))]
    return ", ".join(f"{names[path]}{JOINED}{words_of(trial.settings[path])}" for path in changed)


def cut(words: str) -> str:
    one_line = " ".join(words.split())
    return one_line if len(one_line) <= MAX_REASON else f"{one_line[: MAX_REASON - 1]}…"
