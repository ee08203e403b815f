"""A headless Chromium, driven by its DevTools protocol over a WebSocket: no driver, and no browser of its own to fetch.

Everything that a page asks for, and everything that goes wrong on it, is kept. No name but 127.0.0.1 is resolved.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.patience import PATIENCE_S, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
KEYS: Mapping[str, tuple[str, int, str]] = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "Backspace": ("Backspace", 8, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
CONTROL = 2


def find_chromium() -> str | None:
    """The path of the Chromium that is installed here."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browsing(chromium: str, home: Path) -> Generator["Browser"]:
    """A browser with an empty profile below `home`, for the block."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
    with (home / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [chromium, *FLAGS, *sandbox, f"--user-data-dir={home / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        # No pings: on a busy machine Chromium may not answer one in time, and is well all the same.
        with connect(
            address_of(process, home), max_size=None, open_timeout=PATIENCE_S, ping_interval=None
        ) as connection:
            yield Browser(connection)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def address_of(process: subprocess.Popen[bytes], home: Path) -> str:
    """Where the browser listens, once it does."""
    announced = home / "profile/DevToolsActivePort"

    def told() -> str:
        return f"Chromium did not start: {(home / 'chromium.log').read_text()[-2000:]}"

    def lines() -> list[str]:
        assert process.poll() is None, told()
        found = announced.read_text().splitlines() if announced.is_file() else []
        return found if len(found) == 2 else []

    port, path = wait_until(lines, told)
    return f"ws://127.0.0.1:{port}{path}"


class Browser:
    """The connection, which all pages share."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.num_calls = connection, 0
        self.pages: dict[str, Page] = {}

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send one command; gives its result. Events that come before it are handed to their pages."""
        self.num_calls += 1
        message = {"id": self.num_calls, "method": method, "params": params}
        self.connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            reply = json.loads(self.connection.recv(timeout=PATIENCE_S))
            if reply.get("id") == self.num_calls:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]
            if page := self.pages.get(reply.get("sessionId", "")):
                page.note(reply)

    def open(self, url: str, *, width: int = 1100, height: int = 900, dark: bool = False, scale: float = 1) -> "Page":
        """A new page of this size, in a context of its own, once its load event is through."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        page.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        page.call("Page.navigate", url=url)
        page.wait("location.href !== 'about:blank' && document.readyState === 'complete'")
        return page


@dataclass
class Page:
    """One tab."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list[str])
    """The addresses that it asked for, as METHOD and URL."""
    posted: list[Any] = field(default_factory=list[Any])
    """The JSON bodies that it sent, with their headers."""
    faults: list[str] = field(default_factory=list[str])
    """Exceptions, errors on the console, and what the policy kept from happening."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **params)

    def note(self, event: Mapping[str, Any]) -> None:
        """Keep what an event says."""
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            request = params["request"]
            self.requests.append(f"{request['method']} {request['url']}")
            if "postData" in request:
                self.posted.append((json.loads(request["postData"]), request["headers"]))
        elif event["method"] == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.faults.append(str(params["args"]))
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            if entry["source"] != "network":  # an answer that is an error is no fault of the page
                self.faults.append(entry["text"])

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Return once an expression is true; AssertionError with what the page shows where it does not become so."""
        wait_until(
            lambda: self.run(f"Boolean({condition})"),
            lambda: f"{condition} did not become true; {self.faults}; the page shows:\n{self.text('body')}",
        )

    def text(self, selector: str) -> str:
        """What a person sees of an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def press(self, key: str, *, control: bool = False, times: int = 1) -> None:
        """Press a key where the focus is."""
        code, number, text = KEYS[key]
        modifiers = CONTROL if control else 0
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", text="" if control else text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Put text in where the focus is, as a paste does."""
        self.call("Input.insertText", text=text)

    def fill(self, selector: str, text: str) -> None:
        """Put text into an empty field."""
        self.run(f"(field => {{ field.focus(); field.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.type(text)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        self.drag([self.middle(selector)])

    def middle(self, selector: str) -> tuple[float, float]:
        x, y, width, height = self.box(selector)
        return x + width / 2, y + height / 2

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Where an element is, once it is scrolled into view."""
        measure = (
            "(found => { found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
            " return [box.x, box.y, box.width, box.height]; })"
        )
        x, y, width, height = self.run(f"{measure}(document.querySelector({json.dumps(selector)}))")
        return x, y, width, height

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Press the mouse at the first point, move it over the others, and let it go."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            button = {"button": "left", "buttons": 1, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file in a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def tree(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The accessibility tree: the role, the name and the properties of each node that is told."""
        for node in self.call("Accessibility.getFullAXTree")["nodes"]:
            if not node["ignored"]:
                properties = {one["name"]: one["value"].get("value") for one in node.get("properties", [])}
                told = properties | {"description": node.get("description", {}).get("value", "")}
                yield node["role"]["value"], node.get("name", {}).get("value", ""), told

    def picture(self, *, height: float | None = None) -> bytes:
        """A PNG of the whole page, or of its upper part."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])
