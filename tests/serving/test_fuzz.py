"""Requests made from the service's own OpenAPI description, right and wrong ones, at random."""

from collections.abc import Generator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation

from components.package.bento import serving
from components.plumbing.artifacts import read_json

NUM_EXAMPLES = 40


@pytest.fixture(scope="module")
def url(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    with serving(tag, ready_timeout_s=60, log=tmp_path_factory.mktemp("fuzz") / "log") as served:
        yield served.url


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_makes_the_service_fail(url: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/docs.json")
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            seen[f"{operation.method.upper()} {operation.path}"] = statuses_of(operation, url, mode)
        except Unsatisfiable:  # nothing can be wrong with a request that takes nothing
            assert mode is GenerationMode.NEGATIVE
    assert (200 if mode is GenerationMode.POSITIVE else 400) in seen["POST /classify"]


def statuses_of(operation: APIOperation, url: str, mode: GenerationMode) -> set[int]:
    """Ask an operation again and again; gives the statuses that were seen, none of which is a fault of the service."""
    seen: set[int] = set()

    @settings(
        max_examples=NUM_EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        response = case.call(base_url=url)
        seen.add(response.status_code)
        assert response.status_code < 500, response.text

    ask()
    return seen
