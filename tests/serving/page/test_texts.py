"""A text, its scores and its words, in a real browser before the real service."""

import json
import re
from pathlib import Path

import httpx
import pytest

from components.package.bento import tag_of
from components.plumbing.artifacts import read_json
from serving.bundle import identify
from serving.page import make_page
from serving.tasks.text_classification.predictor import Predictor
from tests.browser import Browser, Page
from tests.patience import PATIENCE_S
from tests.serving.page import every_task
from tests.serving.page.asking import ANSWERED, READY, TEXT, ask, bodies, complaint
from tests.serving.page.every_task import *  # noqa: F403 -- what holds for every task, asked of this one
from tests.tiny import tiny_rows


@pytest.fixture
def url(text_url: str) -> str:
    return text_url


def points_of(page: Page) -> dict[str, float]:
    """The words of the table, and by how many points each mattered."""
    lines = page.run(
        "[...document.querySelectorAll('#weights tbody tr')].map(row => [0, 2].map(cell => row.cells[cell].innerText))"
    )
    return {word: float(points.replace("\N{MINUS SIGN}", "-")) for word, points in lines}


def test_text_is_scored_and_each_word_is_left_out_once(browser: Browser, text_url: str, packaged: Path) -> None:
    page = browser.open(text_url)
    page.fill("#text", TEXT)
    page.press("Enter", control=True)
    page.wait("!document.querySelector('#words').hidden")
    predictor = Predictor.load(packaged / "artifacts/tiny/package/bundle", threads=1)
    words = ["A", "dull", "city", ",", "but", "superb", "music", "!"]
    without = [TEXT.replace(word, "", 1) for word in words]
    assert bodies(page) == [{"texts": [TEXT]}, {"text": TEXT}]
    purposes = [
        {name.lower(): value for name, value in headers.items()}.get("modelyard-purpose") for _, headers in page.posted
    ]
    assert purposes == [None, "words"]
    (answer,) = predictor.answers(predictor.predict([TEXT]))
    label = answer["label"]
    shown = page.run("[...document.querySelectorAll('#scores li')].map(line => line.innerText.split('\\n'))")
    assert [name for name, _ in shown] == sorted(answer["scores"], key=answer["scores"].__getitem__, reverse=True)
    points = 100 * answer["scores"][label]
    assert shown[0][1] == ("> 99.9 %" if points >= 99.95 else f"{points:.1f} %")  # no model is sure
    left = predictor.predict(without)[:, predictor.labels.index(label)]
    expected = {word: 100 * (answer["scores"][label] - float(score)) for word, score in zip(words, left, strict=True)}
    assert points_of(page) == {word: pytest.approx(expected[word], abs=0.06) for word in expected}
    assert page.text("#weighed") == TEXT
    assert page.text("#status").startswith(f"{label}, ")


def test_long_text_is_weighed_in_one_request_within_the_limits(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    page.fill("#text", " ".join(text for text, _ in tiny_rows(40)))
    ask(page)
    page.wait("document.querySelector('#words-hint').textContent || document.querySelector('#error').textContent")
    assert page.text("#error") == ""
    whole, parts = bodies(page)
    assert whole["texts"] == [parts["text"]]
    assert len(parts["text"].split()) > 256
    assert "3 words were left out at a time" in page.text("#words-hint")


@pytest.mark.parametrize(
    ("points", "shown"), [(-0.04, "0.0"), (0.0, "0.0"), (-0.06, "\N{MINUS SIGN}0.1"), (0.06, "+0.1")]
)
def test_what_is_rounded_to_nothing_has_no_sign(browser: Browser, text_url: str, points: float, shown: str) -> None:
    assert browser.open(text_url).run(f"[signed({points}), figure(-0)]") == [shown, "0"]


def test_words_are_not_weighed_where_it_is_not_wanted(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    page.fill("#text", TEXT)
    page.click("#weigh")
    ask(page)
    assert bodies(page) == [{"texts": [TEXT]}]
    assert page.run("document.querySelector('#words').hidden")


@pytest.mark.parametrize(
    ("text", "error", "is_sent"),
    [
        ("", "Write a text first.", False),
        (" \n", "Write a text first.", False),
        ("a" * 20_001, "20,001 characters; at most 20,000 are taken", False),
        ("\ud800", "Refused: texts[0] holds half of a surrogate pair", True),
    ],
)
def test_bad_text_is_refused_in_words(browser: Browser, text_url: str, text: str, error: str, is_sent: bool) -> None:
    page = browser.open(text_url)
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    page.run(f"document.querySelector('#text').value = '{escaped}'")
    page.click("button.main")
    assert error in complaint(page)
    assert bool(page.posted) == is_sent


def test_page_says_what_the_model_is(browser: Browser, text_url: str, text_bundle: Path) -> None:
    page = browser.open(text_url)
    page.wait(READY)
    manifest, named = read_json(text_bundle / "manifest.json"), identify(text_bundle)
    assert page.text("#version") == f"tiny:{named.version[:12]}"
    assert named.version in page.text("#origin")
    assert named.build in page.text("#origin")
    assert len(page.run("[...document.querySelectorAll('#gates tbody tr')].map(row => row.innerText)")) == len(
        manifest["gates"]
    )
    assert "evaluate: accuracy\t0.99\t≥ 0.8" in page.text("#gates")
    assert "compress: speedup\t" in page.text("#gates")
    assert "compress: speedup\tpassed" not in page.text("#gates")  # measured: the provenance has it
    assert (
        page.run("[...document.querySelectorAll('#stages summary')].map(line => line.innerText)")
        == read_json(text_bundle / "model.json")["stages"]
    )
    assert '"batch_size": 16' in page.run("document.querySelector('#stages').textContent")
    assert "Higher is better. The float model's interval is 0.97 to 1." in page.text("#others-hint")
    assert page.run("document.querySelector('#drift').hidden")  # this service is not watched


def test_text_form_is_told_by_role_and_name(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    every_task.use(page)
    told = {(role, name): properties for role, name, properties in page.tree()}
    assert "20,000 characters" in told["textbox", "Text"]["description"]
    assert told["checkbox", "Which words mattered"]["checked"] == "true"
    assert ("button", "Classify") in told
    for name in ("Scores", "Which words mattered", "How good it is", "Gates it passed", "What it was made from"):
        assert ("heading", name) in told
    assert ("table", "Gates, their figures and their limits") in told
    assert ("rowheader", "superb") in told


def test_whole_form_works_by_keyboard(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    page.wait(READY)
    reached: list[str] = []
    for _ in range(40):
        page.press("Tab")
        here = page.run("(one => one.id || one.ariaLabel || one.innerText)(document.activeElement)")
        outline = page.run("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px", here
        reached.append(here)
        if here == "text" and reached.count("text") == 1:
            page.type(TEXT)
        if here == "Classify":
            page.press("Enter")
            page.wait(ANSWERED)
        if here == "ingest":
            page.press("Enter")
            assert page.run("document.activeElement.parentElement.open")
        if here == "Metrics":
            break
    form = reached.index("text")  # after the examples
    assert reached[form : form + 3] == ["text", "Classify", "weigh"]
    assert [one for one in reached if one in ("Model card", "Lineage as JSON", "OpenAPI", "Metrics")] == [
        "Model card", "Lineage as JSON", "OpenAPI", "Metrics",
    ]  # fmt: skip
    assert "Parameters of ingest" in reached
    assert bodies(page)[0] == {"texts": [TEXT]}


def test_version_is_the_model_s_and_the_build_is_named_beside_it(text_url: str, text_bundle: Path) -> None:
    response = httpx.get(f"{text_url}/", timeout=PATIENCE_S)
    facts = json.loads(re.findall(r'id="facts">(.*?)</script>', response.text)[0])
    named = identify(text_bundle)
    assert facts["version"] == tag_of(text_bundle).partition("-")[0]
    assert facts["digests"] == {"version": named.version, "build": named.build}
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == make_page(text_bundle).headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
