"""What was right, told on the page of a classifier, in a real browser before the real service."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from components.package.bento import tag_of
from components.plumbing.artifacts import read_json, write_json
from serving.log.segments import FEEDBACK, TRAFFIC
from tests.browser import Browser, Page
from tests.serving.log.test_traffic import rows
from tests.serving.page.asking import READY, TEXT, ask, bodies, explaining
from tests.serving.page.conftest import Tell, served
from tests.serving.page.looks import CONTRAST, SMALL

SHOWN = "!document.querySelector('#feedback').hidden"
NOTED = "!/^(Sending|$)/.test(document.querySelector('#noted').textContent)"


def classify(page: Page, text: str = TEXT) -> str:
    """Ask about a text; gives its label, once the page asks whether that was right."""
    page.fill("#text", text)
    ask(page)
    page.wait(SHOWN)
    return page.text("#scores .chosen .label")


def noted(page: Page) -> str:
    """What the page says of the feedback, once it does."""
    page.wait(NOTED)
    return page.text("#noted")


def test_word_of_the_visitor_joins_the_visitors_own_request(browser: Browser, text_url: str, traffic: Path) -> None:
    page = browser.open(text_url)
    for text, is_right in ((TEXT, False), (f"{TEXT} Lovely.", True)):
        label = classify(page, text)
        other = {"negative": "positive", "positive": "negative"}[label]
        assert page.text("#feedback").split() == ["Was", "this", "right?", "Yes,", label, "No,", "it", "is", other]
        told = label if is_right else other
        page.click("#right" if is_right else "#wrong button")
        assert noted(page) == f"Noted: {told}. Thank you."
        line = rows(traffic, FEEDBACK)[-1]
        assert (line["label"], line["item"]) == (told, 0)
        (asked,) = [row for row in rows(traffic, TRAFFIC) if row["request_id"] == line["request_id"]]
        assert (asked["purpose"], asked["length"], asked["output"]["label"]) == (None, len(text), label)
    assert page.faults == []


def test_drawn_digit_has_a_button_for_each_label(browser: Browser, picture_url: str, traffic: Path) -> None:
    page = browser.open(picture_url)
    x, y, width, height = page.box("#board")
    page.drag([(x + width / 3, y + height / 4), (x + width / 2, y + height / 2)])
    ask(page)
    page.wait(SHOWN)
    labels = page.run("facts.predictor.labels")
    shown = page.text("#scores .chosen .label")
    buttons = page.run("[...document.querySelectorAll('#feedback button')].map(one => one.innerText)")
    assert buttons == [f"Yes, {shown}", *(label for label in labels if label != shown)]
    page.click("#wrong button:last-child")
    assert noted(page) == f"Noted: {buttons[-1]}. Thank you."
    assert rows(traffic, FEEDBACK)[-1]["label"] == buttons[-1]
    page.click("#clear")
    assert page.run("document.querySelector('#feedback').checkVisibility()") is False


def test_new_question_takes_the_old_one_back(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    classify(page)
    page.click("#right")
    noted(page)
    page.run("document.querySelector('#text').value = ''")
    page.click("button.main")
    page.wait("document.querySelector('#error').textContent")
    assert page.run("document.querySelector('#feedback').hidden")
    classify(page, "Lovely.")
    assert page.text("#noted") == ""


def test_feedback_is_given_by_keyboard_and_told_to_a_reader_of_the_screen(browser: Browser, text_url: str) -> None:
    page = browser.open(text_url)
    label = classify(page)
    told = [(role, name) for role, name, _ in page.tree()]
    first = told.index(("group", "Was this right?"))
    assert ("button", f"Yes, {label}") in told[first:]
    assert ("group", "No, it is") in told[first:]
    page.run("document.querySelector('#right').focus()")
    page.press("Tab")
    assert page.run("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.press("Enter")
    assert noted(page).startswith("Noted: ")
    assert page.run("document.activeElement.parentElement.id") == "wrong"  # the focus is not lost
    assert ("status", "") in [(role, name) for role, name, _ in page.tree()][first:]
    assert page.run("document.querySelector('#noted').role") == "status"


def test_nothing_is_asked_where_the_service_keeps_no_log(browser: Browser, text_bundle: Path, tmp_path: Path) -> None:
    with served(tag_of(text_bundle), tmp_path, traffic=None) as url:
        page = browser.open(url)
        page.wait(READY)
        page.fill("#text", TEXT)
        ask(page)
        page.wait("performance.getEntriesByName(`${location.href}status`).length")
        assert page.run("document.querySelector('#feedback').hidden")


def answering(labels: list[str], *, status: int = 200, error: str = "", again: str = "", wait_s: float = 0) -> Any:
    """A service that takes feedback, and answers it so."""

    async def classify(request: Request) -> Response:
        answer = {"label": labels[0], "scores": {label: 1 / len(labels) for label in labels}}
        return JSONResponse([answer for _ in (await request.json())["texts"]], headers={"x-request-id": "seven"})

    async def show_status(_: Request) -> Response:
        return JSONResponse({"feedback": {"state": "on"}})

    async def take(_: Request) -> Response:
        await asyncio.sleep(wait_s)
        return JSONResponse({"error": error}, status_code=status, headers={"retry-after": again} if again else {})

    return {"/classify": classify, "/explain": explaining(labels[0]), "/status": show_status, "/feedback": take}


@pytest.mark.parametrize(
    ("status", "error", "again", "said"),
    [
        (403, "this key is for predict; feedback is needed here", "", "This key may ask, but not give feedback."),
        (401, "a key is needed", "", "Refused: a key is needed."),
        (404, "this service keeps no log", "", "Refused: this service keeps no log."),
        (503, "disk full", "60", "No answer: disk full. Try again in 60 seconds."),
        (400, "<img src=x onerror=alert(1)>", "", "Refused: <img src=x onerror=alert(1)>."),
    ],
)
def test_feedback_that_is_not_taken_is_told_in_words(
    browser: Browser, told: Path, tell: Tell, status: int, error: str, again: str, said: str
) -> None:
    with tell(told, answering(["a", "b"], status=status, error=error, again=again)) as url:
        page = browser.open(url)
        classify(page)
        page.click("#wrong button")
        assert noted(page) == f"Not noted. {said}"
        assert page.run("document.querySelector('#noted').className") == "error"
        assert page.run("document.querySelector('#key-row').hidden") == (status not in (401, 403))
        assert page.text("#error") == ""
        assert bodies(page)[-1] == {"request_id": "seven", "label": "b"}
        assert page.faults == []


def test_late_word_on_an_answer_is_not_said_of_the_next(browser: Browser, told: Path, tell: Tell) -> None:
    with tell(told, answering(["a", "b"], wait_s=0.5)) as url:
        page = browser.open(url)
        classify(page)
        page.click("#right")
        classify(page)
        page.wait("performance.getEntriesByName(`${location.href}feedback`).length")
        assert page.text("#noted") == ""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_one_of_many_labels_is_chosen_from_a_list(browser: Browser, told: Path, tell: Tell, dark: bool) -> None:
    labels = [f"a very long label, of which there are many, number {number}" for number in range(40)]
    write_json(told / "predictor.json", read_json(told / "predictor.json") | {"labels": labels})
    with tell(told, answering(labels)) as url:
        page = browser.open(url, width=320, height=800, dark=dark)
        classify(page)
        assert page.run("document.documentElement.scrollWidth") == 320
        assert page.run(SMALL) == []
        assert [(text, ratio) for text, ratio in page.run(CONTRAST) if ratio < 4.5] == []
        assert ("combobox", "No, it is") in [(role, name) for role, name, _ in page.tree()]
        page.click("#wrong button")
        assert noted(page) == "Choose what it is first."
        page.run("document.querySelector('#wrong select').focus()")
        page.press("ArrowDown", times=7)
        page.press("Tab")
        page.press("Enter")
        page.wait("document.querySelector('#noted').textContent.startsWith('Noted: ')")
        assert bodies(page)[-1] == {"request_id": "seven", "label": labels[7]}
