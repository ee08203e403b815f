"""The BentoML service of a bundle: its task's route (serving/tasks), GET /lineage, GET /card, GET /report and the page
at /.

BentoML answers `/livez`, `/readyz`, `/metrics` and `/docs.json` itself.
"""

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import ServiceUnavailable
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.bundle import CARD, REPORT, load_about, load_lineage
from serving.loading import loading
from serving.log.traffic import Traffic, read_settings
from serving.middleware_bypass import MiddlewareBypass
from serving.overload.backlog import Backlog
from serving.page import make_page, make_report
from serving.predictors.session import check_device
from serving.requests.answering import Answers
from serving.requests.connections import limit_connections
from serving.requests.keys import VARIABLE, Keys, given_keys, is_text_of_keys
from serving.requests.reading import Refusals
from serving.tasks import endpoint_of


def make_service(folder: Path) -> Any:
    """Return the BentoML service of the bundle in `folder`.

    Raise BundleError where a file of the bundle cannot be read, DeviceError where MODELYARD_DEVICE
    names a device that cannot compute here, KeysError where MODELYARD_KEYS holds text that cannot be read as keys, and
    ValueError where a variable of the traffic log has an invalid value.
    """
    check_device()
    about = load_about(folder)
    endpoint = endpoint_of(about.task)
    limits = endpoint.Limits(**about.limits)
    endpoint.what_it_is(folder)
    endpoint.make_check(folder, limits)  # what cannot be loaded is said before a worker is started

    limit_connections(limits)
    backlog = Backlog(threads=limits.threads, max_latency_ms=limits.max_latency_ms)

    class Service(endpoint.make_api(folder, limits, backlog)):
        def __init__(self) -> None:
            end_with_parent()
            log_no_overload()
            with loading(folder):
                super().__init__()

    service: Any = bentoml.service(
        name=about.name,
        logging={"access": {"enabled": False}},
        # A span that nobody collects costs a request more than all else that is done for it but the model.
        tracing={"excluded_urls": ".*"},
    )(Service)
    if not endpoint.IS_STREAMED:
        routes = [endpoint.ROUTE, *endpoint.questions(folder, limits)]
        service.add_asgi_middleware(MiddlewareBypass, routes=routes, backlog=backlog)
    keys = os.environ.get(VARIABLE, "")
    fixed = given_keys(keys) if is_text_of_keys(keys) else None
    path = Path(keys) if keys and not is_text_of_keys(keys) else None
    service.add_asgi_middleware(Keys, path=path, fixed=fixed)  # before all that reads a request
    service.add_asgi_middleware(Traffic, endpoint=endpoint, folder=folder, limits=limits)
    if endpoint.IS_STREAMED:
        service.add_asgi_middleware(Refusals, endpoint=endpoint, folder=folder, limits=limits)
    else:
        service.add_asgi_middleware(Answers, endpoint=endpoint, folder=folder, limits=limits, backlog=backlog)
    service.mount_asgi_app(pages(folder), name="pages")
    return service


def pages(folder: Path) -> Starlette:
    """Return the application of the pages beside the task's route.

    GET /lineage is what the bundle was made from, and by which run; GET /card is the model card; GET /report is the
    page on how it was judged; GET / is serving/page, whose icon is at /favicon.ico. The page stands in for BentoML's
    own, which calls a tag manager on the internet.
    """
    lineage, card = load_lineage(folder), (folder / CARD).read_text(encoding="utf-8")
    log = read_settings(os.environ)
    # Where what is asked is not to be kept as it is, rows of the data are not to be shown either.
    shows_rows = log is None or log.input == "text"
    page = make_page(folder, has_examples=shows_rows)
    report = make_report(folder) if shows_rows and (folder / REPORT).is_file() else None

    async def show_lineage(_: Request) -> Response:
        return JSONResponse(lineage)

    async def show_card(_: Request) -> Response:
        return PlainTextResponse(card)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(page.html, headers=page.headers)

    async def show_report(_: Request) -> Response:
        if report is None:
            return PlainTextResponse("no report can be shown here\n", status_code=404)
        return HTMLResponse(report.html, headers=report.headers)

    async def show_icon(_: Request) -> Response:
        return Response(page.icon, media_type="image/svg+xml", headers={"cache-control": "max-age=86400"})

    shown = {
        "/lineage": show_lineage, "/card": show_card, "/report": show_report, "/": show_page,
        "/favicon.ico": show_icon,
    }  # fmt: skip
    return Starlette(routes=[Route(path, show) for path, show in shown.items()])


def log_no_overload() -> None:
    """Keep BentoML from logging a traceback for each request that it turns away; `/metrics` counts them."""
    logging.getLogger("bentoml._internal.server.http_app").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], ServiceUnavailable))
    )


def end_with_parent() -> None:
    """End this process when the process that supervises it is gone: a killed server must not leave its workers
    behind."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
