"""The page and the plots of a search over settings."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.params.sweep import Choice, Sweep
from flows.sweep.judging.front import ranked
from flows.sweep.report.page import MAX_ROWS, summary, write_page
from flows.sweep.report.plots import MAX_AXES, short_names, span_of
from flows.sweep.report.scales import BELOW, OFF, Scale, scale_of, words_of
from flows.sweep.trials.trial import State, Trial
from tests.browser import Browser
from tests.serving.page.looks import CONTRAST

RATE, NAME, STEPS = "finetune.optimizer.learning_rate", "finetune.schedule.name", "finetune.schedule.warmup_steps"
SPACE: Mapping[str, Any] = {
    RATE: {"log": (1e-5, 1e-2)},
    "finetune.dropout": {"uniform": (0.0, 0.5)},
    NAME: {"choices": ("linear", "constant", None, True)},
    STEPS: {"integer": (0, 200), "when": {NAME: "linear"}},
}
ALL = ["curves.png", "history.png", "importance.png", "parallel.png"]
IMPORTANCES = {RATE: 0.7, NAME: 0.2, "finetune.dropout": 0.1}


def sweep_of(space: Mapping[str, Any] = SPACE, **changes: Any) -> Sweep:
    return Sweep.model_validate({"space": dict(space), "trials": 30, **changes})


def trial(number: int, value: float | None, *, state: State = "done", **changes: Any) -> Trial:
    settings: dict[str, Any] = {RATE: 1e-4 * (number + 1), "finetune.dropout": 0.1, NAME: "constant"}
    if number % 2:
        settings |= {NAME: "linear", STEPS: 10 * number}
    last = [] if value is None else [(2.0, value)]
    given: dict[str, Any] = {"settings": settings, "curve": ((1.0, 0.9), *last), "seconds": 12.0}
    return Trial(number=number, state=state, value=value, **given | changes)


def some(num_trials: int = 30) -> list[Trial]:
    """Trials of every state, the best of which is number 7."""
    found = [trial(number, 0.3 + 0.01 * abs(number - 7)) for number in range(num_trials)]
    found[5] = trial(5, 0.6, state="pruned", reason="its best was 0.6 & more", curve=((1.0, 0.6),))
    found[6] = trial(6, None, state="failed", reason="MemoryError: <script>alert(1)</script>")
    return found


def written(
    folder: Path, trials: Sequence[Trial], *, sweep: Sweep | None = None,
    importances: Mapping[str, float] | None = None, verdict: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    given = IMPORTANCES if importances is None else importances
    drawn = write_page(folder, "tiny", sweep or sweep_of(), trials, given, verdict=verdict)
    assert sorted(path.name for path in drawn) == sorted(path.name for path in folder.glob("*.png"))
    return (folder / "report.html").read_text(encoding="utf-8")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_page_holds_its_pictures_and_loads_nothing(tmp_path: Path) -> None:
    page = written(tmp_path, some())
    assert names_in(tmp_path) == ALL
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"https?://|src=\"(?!data:)|<script", page)


def test_page_says_the_best_beside_the_present_settings_and_how_trials_ended(tmp_path: Path) -> None:
    page = written(tmp_path, some(), verdict={"gain in <accuracy>": 0.0123, "says": "+1 % & more"})
    assert "Trial 7 is the best: its validation_loss is 0.3, that of the present settings 0.37; of 30 trials, " in page
    assert "28 are done, 1 pruned and 1 failed." in page
    assert "<td>gain in &lt;accuracy&gt;</td><td>0.0123</td>" in page
    assert "<td>says</td><td>+1 % &amp; more</td>" in page
    assert "MemoryError: &lt;script&gt;" in page
    assert "<h2>Verdict</h2>" not in written(tmp_path, some())


def test_trials_come_best_first_then_pruned_then_failed_with_what_differs(tmp_path: Path) -> None:
    page = written(tmp_path, some())
    rows = re.findall(r"<tr><td>(\d+)</td><td><span class=\"\w+\">(\w+)</span></td>.*?</tr>", page, re.DOTALL)
    assert len(rows) == 30
    assert rows[0] == ("7", "done")
    assert rows[-2:] == [("5", "pruned"), ("6", "failed")]
    row = next(line for line in page.splitlines() if line.startswith("<tr><td>7</td>"))
    space = "\N{NO-BREAK SPACE}"
    assert f"learning_rate{space}0.0008, schedule.name{space}linear, warmup_steps{space}70" in row
    assert "dropout" not in row


def test_the_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    page = written(tmp_path, some(MAX_ROWS + 41))
    assert page.count('<span class="good">done</span>') == MAX_ROWS
    assert "41 trials more, worse than these, left out." in page


def test_the_same_trials_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    for name, trials in (("one", some()), ("other", some()[::-1])):
        written(tmp_path / name, trials)
    for name in (*ALL, "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("trials", "plots"),
    [
        ([], []),
        ([trial(0, None, state="failed", curve=())], []),
        ([trial(0, 0.5, curve=())], ["history.png", "parallel.png"]),
        ([trial(0, math.nan, curve=((1.0, math.nan),)), trial(1, math.inf, curve=())], []),
        ([trial(0, 0.5, state="pruned", curve=((1.0, 0.5),))], ["curves.png", "history.png"]),
        ([trial(0, 0.5), trial(1, 0.5)], ["curves.png", "history.png", "parallel.png"]),
        ([*some(), trial(30, -1.7e308), trial(31, 1.7e308)], ["curves.png", "history.png", "parallel.png"]),
        ([trial(number, 0.5, settings={}) for number in range(9)], ["curves.png", "history.png", "parallel.png"]),
    ],
    ids=["none", "one failed", "without a curve", "no numbers", "pruned", "alike", "too large", "no settings"],
)
def test_what_there_is_nothing_to_draw_of_is_left_out(
    tmp_path: Path, trials: list[Trial], plots: list[str], direction: str
) -> None:
    (tmp_path / "history.png").write_bytes(b"of before")
    page = written(tmp_path, trials, sweep=sweep_of(direction=direction), importances={})
    assert names_in(tmp_path) == plots
    assert page.count("<img") == len(plots)


def test_many_settings_with_long_names_values_beyond_the_space_and_letters_without_a_glyph(tmp_path: Path) -> None:
    space = {f"finetune.part_{number}.{'long_' * 12}name": {"uniform": (0.0, 1.0)} for number in range(MAX_AXES + 4)}
    space |= {
        "preprocess.form": {"choices": tuple(f"値{number}" for number in range(40))}, "finetune.one": {"choices": (1,)},
    }  # fmt: skip
    trials = [
        trial(number, 0.1 * number, settings=dict.fromkeys(space, value))
        for number, value in enumerate([0.5, -4.0, 7, None, "word", True, math.nan])
    ]
    sweep = sweep_of(space, objective="validation_" + "x" * 80)
    written(tmp_path, trials, sweep=sweep, importances={path: 1 / len(space) for path in space})
    assert names_in(tmp_path) == ALL


def test_of_equals_the_earliest_is_the_best_and_only_finished_trials_are() -> None:
    trials = [trial(2, 0.5), trial(0, 0.5), trial(1, 0.1, state="pruned"), trial(3, math.nan), trial(4, 0.6)]
    assert [one.number for one, _ in ranked(trials, sweep_of())] == [0, 2, 4]
    assert [one.number for one, _ in ranked(trials, sweep_of(direction="maximize"))] == [4, 0, 2]
    assert summary(sweep_of(), trials, trials[1]).startswith(
        "No trial is better than the present settings, whose validation_loss"
    )
    assert "present settings not known; of 1 trial, 1 is done" in summary(sweep_of(), [trial(3, 0.5)], trial(3, 0.5))


def test_names_are_the_shortest_ends_that_say_which() -> None:
    paths = ["finetune.optimizer.name", "finetune.epochs", "pretrain.epochs", "finetune.optimizer.learning_rate"]
    assert list(short_names(paths).values()) == [
        "optimizer.name", "finetune.epochs", "pretrain.epochs", "learning_rate",
    ]  # fmt: skip


def test_an_axis_leaves_off_only_what_is_far_out_on_the_worse_side() -> None:
    values = [0.3, 0.4, 0.5, 0.6, 48.0]
    assert span_of(values, minimizes=True) == (0.3, 0.6)
    assert span_of(values, minimizes=False) == (0.3, 48.0)
    low, high = span_of([0.5, 0.5], minimizes=True)
    assert low < 0.5 < high


def test_values_lie_on_the_axis_that_the_space_says() -> None:
    space = sweep_of().space
    rate = scale_of(space[RATE], [1e-3, 0.0])
    assert [rate.place(value) for value in (1e-5, 1e-2)] == [0.0, 1.0]
    assert rate.place(10**-3.5) == pytest.approx(0.5)
    assert (rate.place(0.0), rate.off) == (BELOW, "0")
    assert [words for _, words in rate.ticks] == ["1e-05", "0.0001", "0.001", "0.01"]
    assert [height for height, _ in rate.ticks] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    steps = scale_of(space[STEPS], [OFF, 250])
    assert (steps.place(250), steps.place(OFF), steps.off) == (1.0, BELOW, "not drawn")
    names = scale_of(space[NAME], ["cosine"])
    assert [words for _, words in names.ticks] == ["linear", "constant", "null", "true", "cosine"]
    assert names.place("constant") == 0.25
    assert scale_of(Choice(choices=(1, True)), []).place(True) == 1.0


def test_logarithmic_ticks_are_few_and_within() -> None:
    for high in np.geomspace(1.5e-5, 1e9, 60):
        ticks = Scale.of_numbers((1e-5, float(high)), is_log=True).ticks
        assert 2 <= len(ticks) <= 8
        assert all(-1e-6 <= height <= 1 + 1e-6 for height, _ in ticks)


def test_values_are_said_as_params_yaml_has_them() -> None:
    assert [words_of(value) for value in (True, None, 3, 0.000123456, -0.0, "a")] == [
        "true", "null", "3", "0.00012346", "0", "a",
    ]  # fmt: skip


def of_three(number: int, loss: float, speed: float, size: float) -> Trial:
    return trial(number, loss, figures={"validation_loss": loss, "rows_per_s": speed, "size_bytes": size})


def test_front_is_a_table_and_a_plot(tmp_path: Path) -> None:
    sweep = sweep_of(
        objective=("validation_loss", "size_bytes", "rows_per_s"), constraints={"size_bytes": {"max": 5e5}}
    )
    trials = [of_three(0, 0.5, 4e4, 2e5), of_three(1, 0.4, 3e4, 3e5), of_three(2, 0.6, 2e4, 4e5),
              of_three(3, 0.1, 9e4, 6e5), of_three(4, 0.7, 5e4, 1e5)]  # fmt: skip
    page = written(tmp_path, trials, sweep=sweep)
    assert "pareto.png" in names_in(tmp_path)
    part = page[page.index("<h2>Front</h2>") :]
    rows = re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", part[: part.index("</table>")])
    assert [number for number, _ in rows] == ["1", "present", "4"]
    assert rows[0][1] == "<td>0.4</td><td>300,000</td><td>30,000</td>"
    assert "Trial 1 is the best" in page
    assert "4 keep the constraints" in page
    write_page(tmp_path, "tiny", sweep, trials, {}, verdict=None, best=trials[4])
    assert "Trial 4 was chosen from the front" in (tmp_path / "report.html").read_text(encoding="utf-8")
    written(tmp_path, trials)
    assert "pareto.png" not in names_in(tmp_path)


def test_page_says_why_there_is_no_best_and_no_comparison(tmp_path: Path) -> None:
    sweep = sweep_of(constraints={"size_bytes": {"max": 1.0}})
    page = written(tmp_path, [of_three(0, 0.5, 4e4, 2e5)], sweep=sweep)
    assert "No trial is within the constraints yet" in page
    write_page(
        tmp_path, "tiny", sweep_of(), some(), {}, verdict={}, words="the two were not compared on the test split"
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Verdict</h2>\n<p>The two were not compared on the test split.</p>" in page


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_page_can_be_read_on_a_phone(tmp_path: Path, browser: Browser, is_dark: bool) -> None:
    written(tmp_path, some(), verdict={"gain": 0.1})
    address = (tmp_path / "report.html").as_uri()
    page = browser.open(address, width=390, dark=is_dark)
    found = page.run(CONTRAST)
    assert len(found) > 20
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []
    assert [one for one in page.requests if not one.startswith("GET data:")] == [f"GET {address}"]
    assert page.faults == []
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("[...document.images].every(one => one.naturalWidth > 0)")
