"""How the tests use the page."""

from typing import Any

from tests.browser import Page

TEXT = "A dull city, but superb music!"
ANSWERED = "!document.querySelector('#result').hidden && document.querySelector('#form').ariaBusy === 'false'"
READY = "document.querySelector('#tiles').children.length"


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
