"""What holds for the page of every task: each test module of a task imports these, and has a fixture `url`."""

import io
from itertools import pairwise

import httpx
import pytest

from tests.browser import Browser, Page
from tests.patience import PATIENCE_S
from tests.serving.page.asking import ANSWERED, READY, TEXT, ask
from tests.serving.page.looks import CONTRAST, DOUBLES, SMALL

__all__ = [
    "test_example_is_asked_with_one_click",
    "test_links_of_the_page_lead_somewhere",
    "test_nothing_leaves_the_origin_and_nothing_fails",
    "test_page_can_be_read_in_light_and_dark",
    "test_page_fits_a_phone",
    "test_reader_of_the_screen_is_told_all",
]


def use(page: Page) -> None:
    """Have the page show all that it can."""
    page.wait(READY)
    if page.run("Boolean(document.querySelector('#text'))"):
        page.fill("#text", TEXT)
    if page.run("Boolean(document.querySelector('#board'))"):
        x, y, width, height = page.box("#board")
        page.drag([(x + width / 3, y + height / 4), (x + width / 2, y + height / 2)])
    if page.run("Boolean(document.querySelector('#max_tokens'))"):
        page.fill("#max_tokens", "5")
    ask(page)
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.run("document.querySelector('#key-row').hidden = false")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_can_be_read_in_light_and_dark(browser: Browser, url: str, dark: bool) -> None:
    page = browser.open(url, dark=dark)
    use(page)
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 200) == dark
    found = page.run(CONTRAST)
    assert len(found) > 40
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []  # WCAG 2.2, 1.4.3


def test_example_is_asked_with_one_click(browser: Browser, url: str) -> None:
    page = browser.open(url)
    page.wait(READY)
    names = page.run("[...document.querySelectorAll('#examples button')].map(one => one.innerText)")
    assert 1 <= len(names) == len(set(names)) <= 4
    page.click("#examples button")
    page.wait(ANSWERED)
    first, *_ = page.posted
    assert {name.lower(): value for name, value in first[1].items()}["modelyard-purpose"] == "example"
    page.posted.clear()
    ask(page)  # what a user asks next is told of no purpose
    assert "modelyard-purpose" not in {name.lower() for name in page.posted[0][1]}
    assert page.faults == []


@pytest.mark.parametrize("width", [320, 390])
def test_page_fits_a_phone(browser: Browser, url: str, width: int) -> None:
    page = browser.open(url, width=width, height=800)
    assert page.run("document.documentElement.scrollWidth") == width
    use(page)
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("document.querySelector('form').getBoundingClientRect().right") <= width
    assert page.run(SMALL) == []  # WCAG 2.2, 2.5.8: 24 x 24 pixels to touch


def test_nothing_leaves_the_origin_and_nothing_fails(browser: Browser, url: str) -> None:
    page = browser.open(url)
    use(page)
    assert page.requests
    away = [one for one in page.requests if not one.split(" ")[1].startswith((f"{url}/", "data:", "blob:"))]
    assert away == []
    assert page.faults == []
    # The policy is what keeps it so.
    assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', error => error.name)") == "TypeError"
    assert "violates the document's Content Security Policy" in page.faults[-1]
    assert (
        page.run("try_ = (() => { try { document.body.innerHTML = '<b>x</b>'; } catch (e) { return e.name; } })()")
        == "TypeError"
    )


def test_reader_of_the_screen_is_told_all(browser: Browser, url: str) -> None:
    page = browser.open(url)
    use(page)
    nodes = list(page.tree())
    roles = [role for role, *_ in nodes]
    for landmark in ("banner", "main", "contentinfo", "status"):
        assert landmark in roles
    asked = ("button", "textbox", "checkbox", "spinbutton", "link", "application", "image", "table", "region", "list")
    named = [(role, name) for role, name, _ in nodes if role in asked]
    assert len(named) > 8
    unnamed = [role for role, name in named if not name and role != "list"]
    assert unnamed == []
    headings = [(properties["level"], name) for role, name, properties in nodes if role == "heading"]
    assert headings[0][0] == 1
    assert [level for level, _ in headings].count(1) == 1
    assert all(after - before <= 1 for (before, _), (after, _) in pairwise(headings))
    assert page.run(DOUBLES) == []
    assert page.run("document.documentElement.lang") == "en"


def test_links_of_the_page_lead_somewhere(url: str) -> None:
    for name in ("card", "lineage", "docs.json", "metrics", "favicon.ico"):
        assert httpx.get(f"{url}/{name}", timeout=PATIENCE_S).status_code == 200
    assert httpx.get(f"{url}/favicon.ico", timeout=PATIENCE_S).headers["content-type"] == "image/svg+xml"
    with io.StringIO(httpx.get(f"{url}/card", timeout=PATIENCE_S).text) as card:
        assert card.readline().startswith("# tiny")
