"""The private parts of BentoML that are used (docs/decisions.md says why): each test fails where one moves."""

import inspect
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what BentoML's server imports
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.context import server_context
    from bentoml._internal.server import http_app
    from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware


def test_context_of_a_server_names_its_bento_and_its_service() -> None:
    for name in ("bento_name", "bento_version", "service_name"):
        assert hasattr(server_context, name)


def test_middleware_of_the_metrics_counts_requests_by_these_labels() -> None:
    source = inspect.getsource(RunnerTrafficMetricsMiddleware)
    assert "metrics_request_total" in source
    for label in ("endpoint", "service_name", "service_version", "http_response_code", "runner_name"):
        assert f'"{label}"' in source


def test_configuration_names_the_host_and_the_folder_of_the_counters() -> None:
    assert BentoMLContainer.http.host.get()
    assert BentoMLContainer.bentoml_home.get()
    with BentoMLContainer.prometheus_multiproc_dir.patch("/nowhere"):
        assert BentoMLContainer.prometheus_multiproc_dir.get() == "/nowhere"


def test_logger_of_what_is_turned_away_is_the_module_s() -> None:
    assert http_app.logger.name == "bentoml._internal.server.http_app"
