"""The page that a bundle serves at `/`: ask the model, and read what it was made from and how good it is.

It is one HTML document that loads nothing from elsewhere. Its parts lie in this folder, the form and the script of a
task in serving/tasks. Its Content-Security-Policy lets the browser run the page's one script and no other, ask this
service only, and make no HTML of a string: whatever the model or a user says can only be put in as text.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving.bundle import GOLDEN, REPORT, SHORT, identify, load_about, reading
from serving.predictors import MAX_SEED
from serving.tasks import endpoint_of

PARTS = Path(__file__).parent
TASKS = PARTS.parent / "tasks"
STYLES = ("page.css", "form.css", "answer.css", "about.css")
SCRIPTS = ("page.js", "feedback.js", "about.js")
PREDICTOR = "predictor.json"
ICON = "icon.svg"
LINK = '<a href="report">How it was judged</a>'
HEADERS: Mapping[str, str] = {
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
ALONE = ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")
MARK = re.compile(r"<!-- (\w+) -->")


@dataclass(frozen=True)
class Page:
    """The HTML document, the headers that it is sent with, and its icon."""

    html: str
    headers: Mapping[str, str]
    icon: str
    """The icon as SVG text, which the page holds and which browsers ask for by the name of `/favicon.ico`."""


def make_page(folder: Path, *, has_examples: bool = True) -> Page:
    """Return the page of the bundle in `folder`; with `has_examples`, rows of the data may be shown, so it offers a few
    of the golden requests, and links the report."""
    facts = facts_of(folder)
    facts["examples"] = endpoint_of(facts["task"]).examples(golden_of(folder)) if has_examples else []
    style = "\n".join(map(part, STYLES))
    script = "\n".join([*map(part, SCRIPTS), part("form.js", folder=TASKS / facts["task"])])
    holds = {
        "title": html.escape(facts["name"]),
        "icon": quote(part(ICON).strip()),
        "style": style,
        "form": MARK.sub(lambda found: part(f"{found[1]}.html"), part("form.html", folder=TASKS / facts["task"])),
        "report": LINK if has_examples and (folder / REPORT).is_file() else "",
        "facts": as_data(facts),
        "script": script,
    }
    return Page(
        html=MARK.sub(lambda found: holds[found[1]], part("page.html")),
        icon=part(ICON),
        headers={"content-security-policy": policy(style=style, script=script), **HEADERS},
    )


def make_report(folder: Path) -> Page:
    """Return the page on how the model of the bundle in `folder` was judged, as evaluate wrote it.

    It holds no script, and may run none. Its drawings say their colours in their elements, so styles are not named by
    their digests.
    """
    rules = ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", *ALONE]
    return Page(
        html=part(REPORT, folder=folder),
        headers={"content-security-policy": "; ".join(rules), **HEADERS},
        icon=part(ICON),
    )


def facts_of(folder: Path) -> dict[str, Any]:
    """Return the facts that the form needs about the model; the page asks GET /lineage for everything else."""
    about = load_about(folder)
    endpoint = endpoint_of(about.task)
    identity = identify(folder)
    return {
        "name": about.name,
        "task": about.task,
        "route": endpoint.ROUTE,
        "version": f"{about.name}:{identity.version[:SHORT]}",
        "digests": {"version": identity.version, "build": identity.build},
        "what_it_is": endpoint.what_it_is(folder),
        "limits": about.limits,
        "predictor": json.loads((folder / PREDICTOR).read_text(encoding="utf-8")),
        "max_seed": MAX_SEED,
    }


def golden_of(folder: Path) -> list[dict[str, Any]]:
    """Return the golden requests that the bundle was proven with; empty where it holds none."""
    golden = folder / GOLDEN
    with reading(golden):
        return json.loads(golden.read_text(encoding="utf-8")) if golden.is_file() else []


def part(name: str, *, folder: Path = PARTS) -> str:
    return (folder / name).read_text(encoding="utf-8")


def as_data(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON in which `<` is escaped, so that no label can end the HTML element that holds it."""
    return json.dumps(facts).replace("<", "\\u003c")


def policy(*, style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page with one inline style and one inline script."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{digest_of(script)}'",
            f"style-src '{digest_of(style)}'",
            "connect-src 'self'",
            "img-src blob: data:",
            *ALONE,
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def digest_of(text: str) -> str:
    """Return the expression by which a policy names an inline element: `sha256-` and the base64 of its content's
    SHA-256."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
