"""How the tests use the page."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.browser import Page

TEXT = "A dull city, but superb music!"
ANSWERED = "!document.querySelector('#result').hidden && document.querySelector('#form').ariaBusy === 'false'"
READY = "document.querySelector('#tiles').children.length"


def explaining(label: str) -> Any:
    """A service's answer to which words mattered: the first half of the text spoke for the label, the rest against."""

    async def explain(request: Request) -> Response:
        size = len((await request.json())["text"])
        pieces = [(0, size // 2, 0.5), (size // 2, size, -0.25)]
        found = [{"start": start, "end": end, "effect": effect} for start, end, effect in pieces]
        return JSONResponse({"label": label, "score": 0.75, "words_a_piece": 1, "pieces": found})

    return explain


def bodies(page: Page) -> list[Any]:
    """What it posted."""
    return [body for body, _ in page.posted]


def ask(page: Page) -> None:
    """Send the form, and wait until it is answered."""
    page.click("button.main")
    page.wait(ANSWERED)


def complaint(page: Page) -> str:
    """What the page says against it, once it does."""
    page.wait("document.querySelector('#error').textContent")
    return page.text("#error")
