"""The page on how the model was judged, as a bundle serves it at /report."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from components.evaluate.page import paragraphs, write_page
from components.plumbing.pages import LIGHT, Part, image
from serving.log.traffic import FOLDER, INPUT
from serving.page import HEADERS
from serving.predictors.pictures import png_of
from serving.service import pages
from tests.browser import Browser
from tests.serving.page.conftest import Tell

LINK = 'href="report"'


@pytest.fixture
def with_report(told: Path) -> Path:
    """The parts of a page, with a report that holds all that may be in one."""
    import numpy as np

    drawn = f'<svg width="20" height="20"><rect width="20" height="20" style="fill: {LIGHT["alarm"]}"/></svg>'
    picture = image(png_of(np.zeros((4, 4), np.uint8)), words="a black square", width=40)
    parts = [Part("Drawn", drawn + picture), Part("Said", paragraphs("<script>document.title = 'run'</script>"))]
    write_page(told / "report.html", title="tiny", headline=["It is tiny."], faults=[], parts=parts)
    return told


def test_report_is_served_beside_the_page_and_may_run_nothing(with_report: Path) -> None:
    client = TestClient(pages(with_report))
    assert LINK in client.get("/").text
    answer = client.get("/report")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.content == (with_report / "report.html").read_bytes()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert client.head("/report").status_code == 200
    assert client.post("/report").status_code == 405


def test_bundle_without_a_report_links_none(told: Path) -> None:
    client = TestClient(pages(told))
    assert LINK not in client.get("/").text
    assert client.get("/report").status_code == 404


def test_report_with_rows_is_not_shown_where_the_log_may_not_keep_them(
    with_report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(with_report / "log"))
    monkeypatch.setenv(INPUT, "hash")
    client = TestClient(pages(with_report))
    assert LINK not in client.get("/").text
    assert client.get("/report").status_code == 404


def test_report_looks_under_its_policy_as_it_does_without(with_report: Path, browser: Browser, tell: Tell) -> None:
    with tell(with_report, {}) as url:
        page = browser.open(f"{url}/report", width=375)
        assert page.faults == []
        assert [one for one in page.requests if not one.startswith("GET data:")] == [f"GET {url}/report"]
        assert page.run("getComputedStyle(document.querySelector('rect')).fill") == "rgb(192, 57, 43)"
        assert page.run("document.querySelector('img').naturalWidth") == 4
        assert page.run("document.title") == "tiny: passed its gate"
        page.click("nav a")
        page.wait("location.hash === '#drawn'")
