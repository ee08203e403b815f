"""The pages that stages and monitor leave, in a browser: light and dark, and without a request."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from components.monitoring.detectors import Finding
from components.monitoring.inputs import Reference
from components.monitoring.permutations import Distance
from components.monitoring.plots import draw_labels
from components.monitoring.quality import Interval, Judgement
from components.monitoring.report import write_report
from components.monitoring.texts import TextInputs
from components.monitoring.verdict import Service, Verdict
from components.monitoring.windows import Window
from components.plumbing.pages import document
from tests.browser import Browser
from tests.serving.page.looks import CONTRAST
from tests.validate.test_validate import judge

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a drift, and the Data Docs of a contract that is kept."""
    folder = tmp_path_factory.mktemp("left")
    (folder / "validate").mkdir()
    judge(folder / "validate", ["a", "b"], ["negative", "positive"])
    report = folder / "report.html"
    write_report(report, "tiny", drifted(), window(60), reference(60))
    return {"report": report, "data docs": folder / "validate/observations/data_docs.html"}


def drifted() -> Verdict:
    findings = [
        Finding("length", "ks", Distance(0.4, 0.05, 0.1, 0.0005), is_alarm=True, reason="longer"),
        Finding("domain", "auc", Distance(-0.00001, 0.5, 0.6, 0.4), is_alarm=False, reason=""),
    ]
    curve = np.array([[0.6, 0.5, 3.0], [0.9, 0.8, 9.0]])
    interval = Interval(0.8, 0.7, 0.9)
    quality = Judgement(12, interval, interval, 0.9, 0.05, curve, reasons=())
    return Verdict(
        state="drift", reasons=["texts are longer"], version="0f0f0f0f0f0f", first="2026-01-01T00:00:00+00:00",
        newest="2026-01-02T00:00:00+00:00", num_rows=60, num_feedback=12, findings=findings, quality=quality,
        service=Service(60, 0.0, 0.0, 2.0, 3.0, 4.0), notes=["nothing was left out"],
    )  # fmt: skip


def window(num_rows: int) -> Window:
    rows: list[Any] = [
        SimpleNamespace(
            time=datetime(2026, 1, 1, tzinfo=UTC), length=20 + number, actual=None,
            output={"scores": {"negative": 0.9, "positive": 0.1}},
        )
        for number in range(num_rows)
    ]  # fmt: skip
    return Window("0f0f0f0f0f0f", rows, Counter({200: num_rows}), [2.0] * num_rows)


def reference(num_rows: int) -> Reference:
    scores = np.tile(np.array([[0.1, 0.9]], np.float32), (num_rows, 1))
    texts = ["a text"] * num_rows
    return Reference(TextInputs(), LABELS, texts, scores, np.zeros(num_rows, np.int64), predictor=None, tokens=None)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "data docs"])
def test_page_can_be_read_and_asks_for_nothing(
    left: dict[str, Path], browser: Browser, name: str, is_dark: bool
) -> None:
    page = browser.open(left[name].as_uri(), width=390, dark=is_dark)
    found = page.run(CONTRAST)
    assert len(found) > 20
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []
    assert page.requests == [f"GET {left[name].as_uri()}"]
    assert page.faults == []
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 24, 28)" if is_dark else "rgb(255, 255, 255)")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert "\N{MINUS SIGN}0.0" not in page.text("body")
    assert "-0.0" not in page.text("body")


def test_drawings_take_the_colours_of_their_page(left: dict[str, Path], browser: Browser) -> None:
    inks: dict[bool, set[str]] = {}
    for is_dark in (False, True):
        page = browser.open(left["report"].as_uri(), dark=is_dark)
        inks[is_dark] = set(
            page.run(
                "[...document.querySelectorAll('svg path, svg use, svg g')].flatMap("
                "one => [getComputedStyle(one).fill, getComputedStyle(one).stroke])"
            )
        ) - {"none"}
    assert "rgb(34, 48, 60)" in inks[False]  # the ink of the words, by day
    assert "rgb(230, 234, 238)" in inks[True]
    assert inks[False] & inks[True] == {"rgb(0, 0, 0)"}  # what no element says, and nothing is painted with


def test_legend_lies_over_no_bar() -> None:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    scores = np.array([[0.1, 0.9]] * 5, np.float32)
    draw_labels(figure, LABELS, scores, 1 - scores)  # both bars of full height
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (axes,) = figure.axes
    assert not legend.get_window_extent().overlaps(axes.get_tightbbox())
    assert axes.get_legend() is None


def test_page_runs_and_loads_nothing_that_a_row_of_the_data_brings_in(tmp_path: Path, browser: Browser) -> None:
    row = (
        '<p style="color: red">row</p><img src="https://example.org/x.png"><img src="x" onerror="document.title=1">'
        '<script>document.title = "ran"</script><iframe src="https://example.org"></iframe>'
    )
    (tmp_path / "page.html").write_text(document("title", "heading", row))
    page = browser.open((tmp_path / "page.html").as_uri())
    assert page.run("document.title") == "title"
    assert page.run("getComputedStyle(document.querySelector('p')).color") == "rgb(255, 0, 0)"
    kept_out = [fault for fault in page.faults if "Content Security Policy" in fault]
    for what in (
        "https://example.org/x.png",
        "Framing 'https://example.org/'",
        "inline script",
        "inline event handler",
    ):
        assert any(what in fault for fault in kept_out), (what, page.faults)
