"""The document itself, as it is sent."""

import base64
import hashlib
import json
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.artifacts import read_json, write_json
from serving.page import PARTS, make_page
from serving.tasks import TASKS
from tests.projects import ROOT

PAGE_PARTS = [*PARTS.iterdir(), *(path for task in TASKS for path in (ROOT / "serving/tasks" / task).iterdir())]


class Elements(HTMLParser):
    """Every element with its attributes, and the content of scripts and styles, as a browser parts them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in self.CDATA_CONTENT_ELEMENTS:
            self.inside.append((tag, ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, held = self.inside.pop()
            self.inside.append((tag, held + data))


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def directives(page: Any) -> dict[str, str]:
    return dict(one.split(" ", 1) for one in page.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_form_and_a_script(task: str) -> None:
    assert {"form.html", "form.js"} <= {path.name for path in (ROOT / "serving/tasks" / task).iterdir()}


def test_policy_allows_the_one_script_and_the_one_style_and_nothing_else(told: Path) -> None:
    page = make_page(told)
    elements = Elements(page.html)
    (style,) = [text for tag, text in elements.inside if tag == "style"]
    scripts = [text for tag, text in elements.inside if tag == "script" and not text.strip().startswith("{")]
    policy = directives(page)
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == sha256(style)
    assert [policy["script-src"]] == [sha256(text) for text in scripts]
    assert (policy["connect-src"], policy["img-src"]) == ("'self'", "blob: data:")
    for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert policy[name] == "'none'"
    assert not [attributes for _, attributes in elements.found if any(name.startswith("on") for name in attributes)]
    assert not [attributes for _, attributes in elements.found if "style" in attributes]


def test_page_names_no_other_address(told: Path) -> None:
    page = make_page(told)
    addresses = [
        attributes[name]
        for _, attributes in Elements(page.html).found
        for name in ("href", "src", "action", "srcset")
        if name in attributes
    ]
    assert addresses
    icon = [address for address in addresses if address and address.startswith("data:image/svg+xml,")]
    assert len(icon) == 1
    assert {*addresses, *icon} - {*icon} == {"card", "lineage", "docs.json", "metrics"}
    assert re.findall(r"https?://[^'\" )]+", page.html) == []
    assert not re.search(r"@import|url\(", page.html)


def test_no_name_ends_an_element(told: Path) -> None:
    evil = "</script><script>alert(1)</script><!-- form --><img src=x onerror=alert(1)>"
    predictor = read_json(told / "predictor.json") | {"labels": [evil, "<!-- script -->"]}
    write_json(told / "predictor.json", predictor)
    write_json(told / "service.json", read_json(told / "service.json") | {"name": evil})
    page = make_page(told)
    elements = Elements(page.html)
    tags = [tag for tag, _ in elements.found]
    assert (tags.count("script"), tags.count("img")) == (2, 0)
    facts = json.loads(next(text for tag, text in elements.inside if tag == "script"))
    assert facts["predictor"]["labels"] == [evil, "<!-- script -->"]
    assert facts["name"] == evil


def test_wheel_holds_every_part() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "serving.page"
    ]
    parts = [path.name for path in PAGE_PARTS if path.suffix not in (".py", "") and path.is_file()]
    assert len(parts) > 10
    assert [name for name in parts if not any(fnmatch(name, pattern) for pattern in patterns)] == []
