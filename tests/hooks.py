"""Who is told, on this machine: a server that keeps what is posted to it, and targets for `notify:`."""

import json
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.projects import ROOT

ALL = ["failed_gate", "drift", "crash", "promotion"]
VARIABLE = "HOOK"


class Hook(ThreadingHTTPServer):
    """Keeps what is posted, after so many answers of 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Posted)
        self.got: list[dict[str, Any]] = []
        self.failures, self.code, self.asked = 0, 200, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/SECRET"

    @property
    def events(self) -> list[str]:
        return [one["event"] for one in self.got]


class Posted(BaseHTTPRequestHandler):
    server: Hook  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        is_down = self.server.asked <= self.server.failures
        if not is_down:
            self.server.got.append(json.loads(body))
        self.send_response(503 if is_down else self.server.code)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def listening() -> Generator[Hook]:
    """A server that answers."""
    with Hook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def webhook(*events: str, variable: str = VARIABLE) -> dict[str, Any]:
    return {"kind": "webhook", "url_variable": variable, "events": list(events or ALL)}


def project(folder: Path, notify: object, recipe: object = None) -> Path:
    """A folder with this project's recipes that tells these; of `digits`, where given, those of the recipe."""
    params = YAML().load(ROOT / "params.yaml")
    params["notify"] = notify
    if recipe is not None:
        params["recipes"]["digits"]["notify"] = recipe
    YAML().dump(params, folder / "params.yaml")
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder
