"""What the page does with answers that no good service gives: nothing becomes HTML, and errors are told in words."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from components.plumbing.artifacts import read_json, write_json
from tests.browser import Browser, Page
from tests.serving.page.asking import READY, TEXT, ask, complaint, explaining
from tests.serving.page.conftest import Tell

EVIL = "<img src=x onerror='window.hacked = true'></script><script>window.hacked = true</script>"
OPEN = {"max_requests": 8, "max_read_ms": 1000, "max_latency_ms": 400}
GENERATION = {"context": 16, "vocab_size": 320, "unicode": "NFC", "end_of_text_id": 0, "pad_token_id": 0}


def as_evil(value: Any) -> Any:
    """The same, with every text made evil."""
    if isinstance(value, dict):
        return {name: as_evil(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_evil(one) for one in value]
    return f"{value} {EVIL}" if isinstance(value, str) else value


def assert_harmless(page: Page) -> None:
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('img[src=x], script').length") == 2  # the facts, and the page's own
    assert page.faults == []


async def evil_scores(request: Request) -> Response:
    body = await request.json()
    answer = {"label": EVIL, "scores": {EVIL: 0.75, "b": 0.25}}
    return JSONResponse([answer for _ in body["texts"]], headers={"x-request-id": "evil"})


def refusing(status: int, body: Any, **headers: str) -> Any:
    async def refuse(_: Request) -> Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        make = PlainTextResponse if isinstance(body, str) else JSONResponse
        return make(body, status_code=status, headers=names)

    return refuse


def test_nothing_that_the_model_says_becomes_html(browser: Browser, told: Path, tell: Tell) -> None:
    model = read_json(told / "model.json")
    kept = {name: model[name] for name in ("task", "files")}
    metrics = model["metrics"]
    evil = as_evil({**model, "metrics": metrics | {"evaluate": metrics["evaluate"] | {EVIL: 0.5}}}) | kept
    evil["made_from"][EVIL] = {"params": EVIL, "outs": {EVIL: EVIL}}
    write_json(told / "model.json", evil)
    write_json(told / "manifest.json", as_evil(read_json(told / "manifest.json")))
    write_json(told / "predictor.json", read_json(told / "predictor.json") | {"labels": [EVIL, "b"]})
    verdict = {"state": EVIL, "num_rows": 3, "version": EVIL, "newest": EVIL, "reasons": [EVIL]}
    status = refusing(200, {"drift": verdict, "feedback": {"state": EVIL}})
    with tell(told, {
        "/classify": evil_scores, "/explain": explaining(EVIL), "/status": status, "/feedback": refusing(200, {}),
    }) as url:  # fmt: skip
        page = browser.open(url)
        page.wait(READY)
        page.fill("#text", f"{EVIL} {TEXT}")
        ask(page)
        page.wait("!document.querySelector('#drift').hidden")
        page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        page.click("#right")
        page.wait("document.querySelector('#noted').textContent.startsWith('Noted: ')")
        assert page.text("#weighed") == f"{EVIL} {TEXT}"
        for place in ("#scores", "#status", "#weights", "#words-hint", "#what-it-is", "#gates", "#figures", "#stages"):
            assert "<img src=x" in page.text(place), place
        for place in ("#drift-verdict", "#drift-reasons", "#tiles", "#judged", "#right", "#noted"):
            assert "<img src=x" in page.text(place), place
        assert_harmless(page)


def test_nothing_that_is_streamed_becomes_html(browser: Browser, told: Path, tell: Tell) -> None:
    write_json(told / "predictor.json", GENERATION)
    limits = {"threads": 1, "max_prompt_tokens": 12, "max_new_tokens": 40} | OPEN
    write_json(told / "service.json", {"name": "tiny", "task": "text_generation", "limits": limits})

    async def write(_: Request) -> Response:
        async def pieces() -> AsyncGenerator[bytes]:
            # Cut within a character, and within an event.
            events = {"text": f"caf\u00e9 {EVIL}"}, {"finish_reason": EVIL, "num_tokens": 2, "seed": 1}
            whole = "".join(f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in events).encode()
            for start in range(0, len(whole), 7):
                yield whole[start : start + 7]
                await asyncio.sleep(0)

        return StreamingResponse(pieces(), media_type="text/event-stream")

    with tell(told, {"/generate": write}) as url:
        page = browser.open(url)
        page.fill("#prompt", EVIL)
        page.click("button.main")
        page.wait("!document.querySelector('#again').hidden")
        assert page.text("#written") == f"{EVIL}caf\u00e9 {EVIL}"
        assert EVIL in page.text("#status")
        assert_harmless(page)


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (400, {"error": "texts is empty"}, {}, "Refused: texts is empty."),
        (503, {"error": "overloaded"}, {"retry_after": "2"}, "No answer: overloaded. Try again in 2 seconds."),
        (429, {"error": "too much"}, {"retry_after": "1"}, "No answer: too much. Try again in 1 second."),
        (500, "<h1>oh</h1>", {}, "No answer: it answered with status 500 and no reason."),
        (400, {"error": EVIL}, {}, f"Refused: {EVIL}."),
        (200, [], {}, "The service gave an answer that this page does not know."),
        (200, [{"label": 1}], {}, "The service gave an answer that this page does not know."),
    ],
)
def test_errors_are_told_in_words(
    browser: Browser, told: Path, tell: Tell, status: int, body: Any, headers: dict[str, str], words: str
) -> None:
    with tell(told, {"/classify": refusing(status, body, **headers)}) as url:
        page = browser.open(url)
        page.fill("#text", TEXT)
        page.click("button.main")
        assert complaint(page) == words
        assert page.text("#status") == ""
        assert_harmless(page)


def test_key_is_asked_for_and_sent(browser: Browser, told: Path, tell: Tell) -> None:
    async def guarded(request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer my_key":
            return JSONResponse({"error": "a key is needed"}, status_code=401)
        return JSONResponse([{"label": "b", "scores": {"a": 0.25, "b": 0.75}} for _ in (await request.json())["texts"]])

    with tell(told, {"/classify": guarded, "/explain": explaining("b")}) as url:
        page = browser.open(url)
        page.fill("#text", TEXT)
        assert page.run("document.querySelector('#key-row').hidden")
        page.click("button.main")
        assert complaint(page) == "Refused: a key is needed."
        page.fill("#key", "my_key")
        ask(page)
        assert page.text("#error") == ""
        assert page.run("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0


def test_service_that_is_gone_is_told_in_words(browser: Browser, told: Path, tell: Tell) -> None:
    with tell(told, {}) as url:
        page = browser.open(url)
        page.wait(READY)
    page.fill("#text", TEXT)
    page.click("button.main")
    assert complaint(page) == "The service cannot be reached. Is it still running?"


def test_answer_that_breaks_off_is_told_in_words(browser: Browser, told: Path, tell: Tell) -> None:
    write_json(told / "predictor.json", GENERATION)
    limits = {"threads": 1, "max_prompt_tokens": 12, "max_new_tokens": 40} | OPEN
    write_json(told / "service.json", {"name": "tiny", "task": "text_generation", "limits": limits})

    async def begin(_: Request) -> Response:
        return PlainTextResponse('data: {"text": "begun"}\n\n', media_type="text/event-stream")

    with tell(told, {"/generate": begin}) as url:
        page = browser.open(url)
        page.click("button.main")
        assert complaint(page) == "The answer broke off. Is the service still running?"
        assert page.text("#answer") == "begun"


def test_array_is_pasted(browser: Browser, told: Path, tell: Tell) -> None:
    write_json(told / "predictor.json", {"labels": ["a", "b"], "shape": [4], "offset": 10.0, "scale": 2.0})
    limits = {"threads": 1, "max_arrays": 8, "max_image_bytes": 100} | OPEN
    write_json(told / "service.json", {"name": "tiny", "task": "array_classification", "limits": limits})
    answered = [{"label": "b", "scores": {"a": 0.25, "b": 0.75}}]
    with tell(told, {"/classify": refusing(200, answered)}) as url:
        page = browser.open(url)
        assert page.run("document.querySelector('#board').checkVisibility()") is False
        for text, words in {
            "1, 2, x3": "Entry 3 is \u201cx3\u201d, which is no number.",
            "1, 2": "There are 2 numbers; the model takes 4.",
        }.items():
            page.fill("#array", text)
            page.click("button.main")
            page.wait("document.querySelector('#error').textContent")
            assert page.text("#error") == words
        page.fill("#array", "[[1, 2.5],\n [-3e2; 4]]")
        assert page.text("#array-hint").startswith("4 of 4 numbers")
        ask(page)
        page.click("#random")
        ask(page)
        (given, _), (random, _) = page.posted
        assert given == {"arrays": [[1, 2.5, -300, 4]]}
        assert len(random["arrays"][0]) == 4
        assert all(abs(value - 10) < 20 for value in random["arrays"][0])
        assert page.faults == []
