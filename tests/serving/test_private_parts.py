"""The private parts of BentoML and uvicorn that are used (docs/decisions.md says why): each test fails where one
moves."""

import inspect
import warnings

from aiohttp.web_protocol import RequestHandler
from starlette.applications import Starlette
from starlette.middleware import Middleware
from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.middleware_bypass import metrics_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what BentoML's server imports
    from _bentoml_impl.server.app import ServiceAppFactory
    from _bentoml_impl.worker import service as worker
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.context import server_context
    from bentoml._internal.server import http_app
    from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware


def test_context_of_a_server_names_its_bento_and_its_service() -> None:
    for name in ("bento_name", "bento_version", "service_name"):
        assert hasattr(server_context, name)


def test_middleware_of_the_metrics_counts_requests_by_these_labels() -> None:
    source = inspect.getsource(RunnerTrafficMetricsMiddleware)
    for name in ("total", "duration", "in_progress"):
        assert f"self.metrics_request_{name}" in source
    for label in ("endpoint", "service_name", "service_version", "http_response_code", "runner_name"):
        assert f'"{label}"' in source


def test_middleware_of_the_metrics_is_found_among_those_of_a_service() -> None:
    made = Starlette(middleware=[Middleware(RunnerTrafficMetricsMiddleware, namespace="tiny")])
    stack = made.build_middleware_stack()
    assert type(stack) is not RunnerTrafficMetricsMiddleware  # Starlette's own come before it
    assert type(metrics_of(stack)) is RunnerTrafficMetricsMiddleware
    assert metrics_of(Starlette().build_middleware_stack()) is None
    factory = inspect.getsource(ServiceAppFactory)
    first = factory.index("Middleware(")  # of BentoML's, which it puts around those of a service
    assert factory[first:].startswith("Middleware(\n                    RunnerTrafficMetricsMiddleware,")


def test_starlette_names_itself_and_keeps_its_middlewares_where_another_can_come_before_them() -> None:
    source = inspect.getsource(Starlette.__call__)
    assert 'scope["app"] = self' in source
    assert "await self.middleware_stack(scope, receive, send)" in source


def test_configuration_names_the_host_and_the_folder_of_the_counters() -> None:
    assert BentoMLContainer.http.host.get()
    assert BentoMLContainer.bentoml_home.get()
    with BentoMLContainer.prometheus_multiproc_dir.patch("/nowhere"):
        assert BentoMLContainer.prometheus_multiproc_dir.get() == "/nowhere"


def test_logger_of_what_is_turned_away_is_the_module_s() -> None:
    assert http_app.logger.name == "bentoml._internal.server.http_app"


def test_uvicorn_looks_up_the_protocol_that_bentoml_leaves_to_it() -> None:
    assert "http=" not in inspect.getsource(worker.main.callback)
    assert config.HTTP_PROTOCOLS["auto"]
    for name in ("_start_asgi_task", "_unset_keepalive_if_required", "timeout_keep_alive_handler", "data_received"):
        assert callable(getattr(HttpToolsProtocol, name))
    source = inspect.getsource(RequestResponseCycle)
    for name in ("disconnected", "message_event", "response_started", "response_complete", "keep_alive"):
        assert f"self.{name} = " in source


def test_aiohttp_keeps_what_the_router_reads_of_a_connection() -> None:
    source = inspect.getsource(RequestHandler)
    for name in ("_waiter", "_current_request", "_request_count"):
        assert f"self.{name} = " in source or f"self.{name}: " in source
