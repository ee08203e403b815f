"""The page that a bundle serves at `/`: ask the model, and read what it was made from and how good it is.

One HTML document without an address in it. Its parts lie here, the form and the script of a task in serving/tasks. The
policy lets the browser run that one script and no other, ask
this service only, and make no HTML of a string: whatever the model or a user says can only be put in as text.
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

from serving.bundle import GOLDEN, SHORT, identify, load_about
from serving.predictors import MAX_SEED
from serving.tasks import endpoint_of

PARTS = Path(__file__).parent
TASKS = PARTS.parent / "tasks"
STYLES = ("page.css", "form.css", "answer.css", "about.css")
SCRIPTS = ("page.js", "feedback.js", "about.js")
PREDICTOR = "predictor.json"
ICON = "icon.svg"
MARK = re.compile(r"<!-- (\w+) -->")


@dataclass(frozen=True)
class Page:
    """The document, and the headers that it is sent with."""

    html: str
    headers: Mapping[str, str]
    icon: str
    """An SVG, which the page holds and browsers ask for by the name of `/favicon.ico`."""


def make_page(folder: Path, *, has_examples: bool = True) -> Page:
    """The page of the bundle in `folder`; with `has_examples`, it offers a few rows that the bundle was proven with."""
    facts = facts_of(folder)
    facts["examples"] = endpoint_of(facts["task"]).examples(golden_of(folder)) if has_examples else []
    style = "\n".join(map(part, STYLES))
    script = "\n".join([*map(part, SCRIPTS), part("form.js", folder=TASKS / facts["task"])])
    holds = {
        "title": html.escape(facts["name"]),
        "icon": quote(part(ICON).strip()),
        "style": style,
        "form": MARK.sub(lambda found: part(f"{found[1]}.html"), part("form.html", folder=TASKS / facts["task"])),
        "facts": as_data(facts),
        "script": script,
    }
    return Page(
        html=MARK.sub(lambda found: holds[found[1]], part("page.html")),
        icon=part(ICON),
        headers={
            "content-security-policy": policy(style=style, script=script),
            "cache-control": "no-cache",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )


def facts_of(folder: Path) -> dict[str, Any]:
    """What the form must know of the model; everything else is asked of GET /lineage."""
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
    """The requests that a bundle was proven with; none where it holds none."""
    golden = folder / GOLDEN
    return json.loads(golden.read_text(encoding="utf-8")) if golden.is_file() else []


def part(name: str, *, folder: Path = PARTS) -> str:
    return (folder / name).read_text(encoding="utf-8")


def as_data(facts: Mapping[str, Any]) -> str:
    """JSON that ends no element of HTML, whatever a label is called."""
    return json.dumps(facts).replace("<", "\\u003c")


def policy(*, style: str, script: str) -> str:
    """The Content-Security-Policy of the page."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{digest_of(script)}'",
            f"style-src '{digest_of(style)}'",
            "connect-src 'self'",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def digest_of(text: str) -> str:
    """How a policy names an inline element by its content."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
