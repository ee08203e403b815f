"""A server that stands in for a Bento and starts in no time: python stand_in.py SPEC PORT. SPEC says how it answers."""

import contextlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SPEC = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    def give(self, status: int, value: object, *headers: tuple[str, str]) -> None:
        body = json.dumps(value).encode()
        self.send_response_only(status)
        for name, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        route = ROUTES.get(self.path.partition("?")[0])
        if route is None:
            self.give(404, {"target": self.path})
        else:
            route(self, body)

    do_GET = do_POST = do_PUT = do_HEAD = answer


def wait_for_leave() -> None:
    """Return once the file is there that the specification names, if it names one."""
    while SPEC.get("until") and not Path(SPEC["until"]).exists():
        time.sleep(0.01)


def ready(handler: Handler, _: bytes) -> None:
    handler.give(503 if SPEC.get("never_ready") else 200, {})


def classify(handler: Handler, body: bytes) -> None:
    if SPEC.get("log"):
        seen = {"shadow": handler.headers.get("X-Modelyard-Shadow", ""), "id": handler.headers.get("X-Request-Id")}
        with Path(SPEC["log"]).open("a") as file:
            file.write(json.dumps(seen) + "\n")
    time.sleep(SPEC.get("delay_s", 0))
    wait_for_leave()
    label = SPEC["label"]
    answers = [{"label": label, "scores": {label: 1.0}} for _ in json.loads(body)["texts"]]
    full = [("Modelyard-Full", str(SPEC["full_ms"]))] if "full_ms" in SPEC else []
    handler.give(SPEC.get("status", 200), answers, *full)


def generate(handler: Handler, _: bytes) -> None:
    handler.send_response_only(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for number in range(4):
        event = f"data: {number}\n\n".encode()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        if number == 0:
            wait_for_leave()
    handler.wfile.write(b"0\r\n\r\n")


def endless(handler: Handler, _: bytes) -> None:
    handler.send_response_only(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    part = b"%x\r\n%s\r\n" % (50_000, b"." * 50_000)
    with contextlib.suppress(ConnectionError):
        while True:
            handler.wfile.write(part)


def broken(handler: Handler, _: bytes) -> None:
    handler.send_response_only(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"4\r\nhalf\r\n")
    handler.close_connection = True


def echo(handler: Handler, body: bytes) -> None:
    seen = {"target": handler.path, "headers": handler.headers.items(), "body": body.decode()}
    handler.give(201, seen, ("X-Twice", "1"), ("X-Twice", "2"))


def crash(handler: Handler, body: bytes) -> None:
    del handler, body
    os._exit(3)


ROUTES = {
    "/readyz": ready, "/classify": classify, "/generate": generate, "/broken": broken, "/echo": echo, "/crash": crash,
    "/stream": endless,
}  # fmt: skip


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    if SPEC.get("dies"):
        sys.exit("it will not start")
    Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
