"""The page on a model: what it says, how it looks in a browser, and that equal figures give equal bytes."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.classification.judged import Judged
from components.evaluate.classification.plots import GRID, thinned
from components.evaluate.classification.report import report_on
from components.evaluate.page import MAX_SHOWN, UNKNOWN, anchors, quoted, told, write_page
from components.evaluate.stage import Outputs
from components.params import Baseline, Bootstrap, QualityGate, TextClassificationFigures
from components.plumbing.errors import QualityError
from components.plumbing.pages import Part
from tests.browser import Browser
from tests.serving.page.looks import CONTRAST, DOUBLES, SMALL

SCRIPT = "<script>alert('a text')</script> & <b>more</b>"
LABELS = ["bad", "<i>good</i>", "neither of the two, at some length"]
TITLES = [
    "Figures", "What was compared with what", "Confusion", "Curves", "Reliability", "Classes", "Slices",
    "Found & more", "Worst mistakes",
]  # fmt: skip
MAX_BYTES = 1_500_000


def alts_of(html: str) -> list[str]:
    """What a screen reader reads in the place of each drawing; every drawing has words."""
    drawings = re.findall(r"<svg[^>]*>", html)
    found = [re.search(r' role="img" aria-label="([^"]+)"', drawing) for drawing in drawings]
    assert all(found), "a drawing has no words for a screen reader"
    return [unescape(one[1]) for one in found if one]


def judged_rows(num_rows: int = 300, *, labels: list[str] = LABELS, **changes: Any) -> Judged:
    """Rows of which most get their label, and a script among the texts of those that do not."""
    random = np.random.default_rng(0)
    actual = random.integers(len(labels), size=num_rows)

    def scores(noise: float) -> Any:
        logits = random.standard_normal((num_rows, len(labels))) * noise
        logits[np.arange(num_rows), actual] += 3
        return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)

    given: dict[str, Any] = {
        "texts": [f"{SCRIPT} {number}" for number in range(num_rows)],
        "slices": [f"region {number % 3}" for number in range(num_rows)],
        "control": scores(2.0),
    }
    return Judged(
        labels=labels, row=np.arange(num_rows), actual=actual, scores=scores(1.5), baseline=scores(3.0),
        baseline_name="a baseline", **given | changes,
    )  # fmt: skip


def page_of(folder: Path, judged: Judged, *, least: float = 0.1) -> Path:
    for name in ("results", "plots"):
        (folder / name).mkdir(parents=True)
    outputs = Outputs(folder / "results", folder / "plots", folder / "metrics.json", folder / "observations")
    params = TextClassificationFigures(
        task="text_classification",
        bootstrap=Bootstrap(num_samples=100, seed=0, confidence=0.9),
        baseline=Baseline(folds=2, choice_rows=200, max_rows=200, seed=0),
        gate=QualityGate(metric="f1_macro", min=least, min_gain=-1.0),
        calibration_bins=10,
        num_mistakes=20,
    )
    more = [Part("Found & more", "<p>by another part</p>")]
    report_on(judged, majority=0, params=params, outputs=outputs, title="tiny", parts=more)
    return folder / "results/report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(tmp_path_factory.mktemp("page"), judged_rows())


def test_page_says_what_was_measured_on_which_rows_beside_what_and_whether_it_passed(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert '<h1>tiny: <span class="good">passed its gate</span></h1>' in html
    lead = html[html.index('<p class="lead">') : html.index("<nav")]
    assert "On 300 rows of the test split, which the model was not trained on, its F1 (macro) is 0." in lead
    assert "with a 90% interval; the gate asks for at least 0.1. On the same rows a baseline reaches 0." in lead
    assert [title for title in TITLES if f">{title.replace('&', '&amp;')}</h2>" not in html] == []
    assert "modelyard promote tiny" in html
    assert len(alts_of(html)) >= 5


def test_text_and_label_of_the_data_are_shown_as_text(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;alert(&#x27;a text&#x27;)&lt;/script&gt; &amp; &lt;b&gt;more" in html


def test_equal_figures_give_equal_bytes_without_time_or_place(page: Path, tmp_path: Path) -> None:
    again = page_of(tmp_path / "elsewhere", judged_rows())
    assert again.read_bytes() == page.read_bytes()
    html = page.read_text(encoding="utf-8")
    assert "dc:date" not in html
    assert "matplotlib" not in html.lower()
    assert "/tmp" not in html


def test_page_of_a_failed_gate_says_so_and_why(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"is below evaluate.gate.min 0.999\. Train a better model"):
        page_of(tmp_path, judged_rows(), least=0.999)
    html = (tmp_path / "results/report.html").read_text(encoding="utf-8")
    assert '<h1>tiny: <span class="alarm">did not pass its gate</span></h1>' in html
    assert "It did not pass its quality gate, and is not served: f1_macro 0." in html
    assert "It passed" not in html


def test_page_of_forty_classes_and_many_rows_stays_small(tmp_path: Path) -> None:
    labels = [f"label number {number}" for number in range(40)]
    many = page_of(tmp_path, judged_rows(10_000, labels=labels))
    assert many.stat().st_size < MAX_BYTES


def test_images_that_were_mistaken_are_drawn(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(300, 6, 9), dtype=np.uint8)
    html = page_of(tmp_path, judged_rows(texts=None, images=images, slices=None)).read_text(encoding="utf-8")
    assert html.count('src="data:image/png;base64,') == 20
    assert ">Slices<" not in html
    bare = page_of(tmp_path / "bare", judged_rows(texts=None, control=None)).read_text(encoding="utf-8")
    assert "data:image/png" not in bare
    assert "without pretraining" not in bare


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_page_can_be_read_at_every_width(page: Path, browser: Browser, width: int, is_dark: bool) -> None:
    shown = browser.open(page.as_uri(), width=width, dark=is_dark)
    assert shown.run("document.documentElement.scrollWidth") <= width
    assert shown.requests == [f"GET {page.as_uri()}"]
    assert shown.faults == []
    assert [(text, ratio) for text, ratio in shown.run(CONTRAST) if ratio < 4.5] == []
    assert shown.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 24, 28)" if is_dark else "rgb(255, 255, 255)"
    )
    assert SCRIPT in shown.text("main")


def test_every_entry_of_the_contents_leads_to_its_part(page: Path, browser: Browser) -> None:
    shown = browser.open(page.as_uri(), width=375, height=700)
    names = shown.run("[...document.querySelectorAll('nav a')].map(one => one.textContent)")
    assert names == TITLES
    for number in range(len(names)):
        shown.run("scrollTo(0, 0)")
        shown.click(f"nav li:nth-child({number + 1}) a")
        top = shown.run("document.querySelector(':target').getBoundingClientRect().top")
        assert -1 <= top < 700, names[number]
        assert shown.run("document.querySelector(':target').textContent") == names[number]
    assert shown.faults == []


def test_page_is_told_in_words_and_reached_by_keys(page: Path, browser: Browser) -> None:
    shown = browser.open(page.as_uri(), width=375)
    tree = list(shown.tree())
    drawn = [name for role, name, _ in tree if role == "image"]
    assert len(drawn) == 7
    assert all(len(name.split()) > 8 for name in drawn)
    assert any("The model beside a baseline and the commonest label" in name for name in drawn)
    headings = shown.run("[...document.querySelectorAll('h1, h2, h3')].map(one => one.tagName)")
    assert headings == ["H1", *["H2"] * len(TITLES)]
    assert shown.run("document.documentElement.lang") == "en"
    tables = "[...document.querySelectorAll('table')]"
    assert shown.run(f"{tables}.every(one => one.caption && one.closest('[tabindex]'))")
    assert [one for one in shown.run(DOUBLES) if not one.startswith(("DejaVu", "p", "m"))] == []
    assert shown.run(SMALL) == []


def test_anchors_differ_and_a_missing_figure_is_a_dash() -> None:
    assert anchors(["Curves", "Curves", "a & b", "表", "表"]) == ["curves", "curves-too", "a-b", "part", "part-too"]
    assert told([float("nan")] * 3) == UNKNOWN
    assert told([-0.0001, float("nan"), 0.0]) == "0.000"
    assert told([0.5, 0.25, 0.75], digits=2) == "0.50 (0.25\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.75)"
    assert f">{'a' * (MAX_SHOWN - 1)}…</p>" in quoted("a" * 2000)


def test_page_without_parts_is_whole(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", title="<tiny>", headline=["It is 1 & 2."], faults=[], parts=[])
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>&lt;tiny&gt;: " in html
    assert "It is 1 &amp; 2. <span" in html


def test_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    x = np.linspace(0, 1, 20_000)
    curve = x, x**2
    kept = thinned(curve)
    assert len(kept[0]) < 2 * len(GRID)
    assert (kept[0][0], kept[0][-1]) == (0, 1)
    assert np.abs(np.interp(x, *kept) - curve[1]).max() < 0.005
