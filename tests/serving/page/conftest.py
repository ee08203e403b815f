import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from components.package.bento import build_bento, serving, tag_of
from components.package.bundle import write_bundle
from components.params import ArrayClassificationServing
from components.plumbing.artifacts import read_json, write_json
from components.tasks import task_of
from serving.log.traffic import FOLDER as TRAFFIC
from serving.log.traffic import INPUT
from serving.service import pages
from tests.patience import PATIENCE_S, wait_until
from tests.serving.bundles import with_limits
from tests.tiny_arrays import LIMITS
from tests.tiny_bundles import project_of
from tests.tiny_language import write_language_bundle

MODEL: dict[str, Any] = {
    "task": "text_classification",
    "data": {"licence": "CC0", "num_rows": 300, "source": {"kind": "file", "path": "rows.csv"}},
    "contract": {"success": True, "labels": ["a", "b"]},
    "metrics": {
        "evaluate": {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "baseline_accuracy": 0.7},
        "compress": {
            "agreement": 0.99, "float_quality": 0.9, "judged": "the 60 rows of the test split",
            "candidate": "int8", "method": "int8", "metric": "accuracy", "quality": 0.89, "size_bytes": 1000,
            "size_ratio": 0.25, "sparsity": 0.0,
            "unit": "rows",
        },
    },
    "made_from": {"ingest": {"params": {"licence": "CC0"}, "outs": {"artifacts/tiny/ingest/data.parquet": "0f"}}},
    "stages": ["ingest"],
    "files": {},
}  # fmt: skip
GATE = {"stage": "evaluate", "figure": "accuracy", "value": 0.9, "bound": "at least", "limit": 0.8}
PATIENT = {"max_read_ms": 1000 * PATIENCE_S, "max_latency_ms": 1000 * PATIENCE_S}
"""Limits within which a service answers every request, however slow the machine is."""
Tell = Callable[[Path, Mapping[str, Callable[[Request], Any]]], AbstractContextManager[str]]


@contextmanager
def served(tag: str, folder: Path, *, traffic: Path | None) -> Generator[str]:
    """The address of a service that logs into `traffic`, and takes feedback there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRAFFIC, str(traffic or ""))
        patch.setenv(INPUT, "text")
        with serving(tag, ready_timeout_s=60, log=folder / "serve.log") as found:
            yield found.url


@pytest.fixture(scope="session")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that the services below share."""
    return tmp_path_factory.mktemp("traffic")


@pytest.fixture(scope="session")
def text_bundle(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny text classifier, which turns nobody away on a busy machine."""
    folder, bundle = tmp_path_factory.mktemp("text") / "bundle", packaged / "artifacts/tiny/package/bundle"
    with_limits(bundle, folder, provenance=packaged / "observations/tiny/package/provenance.json", **PATIENT)
    return folder


@pytest.fixture(scope="session")
def text_url(text_bundle: Path, traffic: Path) -> Generator[str]:
    """The real service of a tiny text classifier."""
    with served(tag_of(text_bundle), text_bundle.parent, traffic=traffic) as url:
        yield url


@pytest.fixture(scope="session")
def images_url(generator_bundle: Path, traffic: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """… of a tiny generator of images."""
    folder = tmp_path_factory.mktemp("images")
    tag = with_limits(generator_bundle / "artifacts/tiny/package/bundle", folder / "bundle", **PATIENT)
    with served(tag, folder, traffic=traffic) as url:
        yield url


@pytest.fixture(scope="session")
def picture_url(
    compressed_arrays: Path, bento_home: Path, traffic: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    """… of a tiny classifier of pictures of 6 x 9 pixels."""
    folder, artifacts = tmp_path_factory.mktemp("pictures"), compressed_arrays / "artifacts/tiny"
    reports = {
        "card": read_json(artifacts / "ingest/card.json"),
        "verdict": read_json(artifacts / "validate/verdict.json"),
        "evaluated": read_json(artifacts / "evaluate/report.json"),
        "compressed": read_json(artifacts / "compress/report.json"),
    }
    write_bundle(
        folder / "bundle", recipe="tiny_pictures", model=artifacts / "compress/model",
        golden=read_json(artifacts / "compress/results/golden.json")[:4],
        serving=ArrayClassificationServing(task="array_classification", **LIMITS | PATIENT),
        project=project_of(folder, "tiny_pictures"), reports=reports, drop=task_of("array_classification").drop,
    )  # fmt: skip
    with served(build_bento(folder / "bundle", None), folder, traffic=traffic) as url:
        yield url


@pytest.fixture(scope="session")
def language_bundle(bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model, which may write for minutes."""
    folder = tmp_path_factory.mktemp("language")
    with_limits(write_language_bundle(folder / "packaged"), folder / "bundle", **PATIENT)
    return folder / "bundle"


@pytest.fixture(scope="session")
def language_url(language_bundle: Path, traffic: Path) -> Generator[str]:
    with served(tag_of(language_bundle), language_bundle.parent, traffic=traffic) as url:
        yield url


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the page of a bundle is made of, to be changed by a test; no model."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    limits = {"threads": 1, "max_texts": 64, "max_text_length": 2000, "max_body_bytes": 2_000_000}
    limits |= {"max_requests": 8, "max_read_ms": 1000, "max_latency_ms": 1000}
    settings = {"labels": ["a", "b"], "unicode": "NFKC", "mask": [], "max_tokens": 32, "pad_token_id": 0}
    write_json(folder / "service.json", {"name": "tiny", "task": "text_classification", "limits": limits})
    write_json(folder / "predictor.json", settings)
    write_json(folder / "model.json", MODEL)
    write_json(folder / "manifest.json", {"gates": [GATE], "files": {}})
    (folder / "card.md").write_text("# tiny\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tell() -> Tell:
    """Serves the pages of a folder, beside answers that no good service gives."""

    @contextmanager
    def telling(folder: Path, answers: Mapping[str, Callable[[Request], Any]]) -> Generator[str]:
        async def respond(request: Request) -> Response:
            return await answers[request.url.path](request)

        routes = [Route(path, respond, methods=["GET", "POST"]) for path in answers]
        app = Starlette(routes=[*routes, Mount("/", pages(folder))])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            try:
                wait_until(lambda: server.started)
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = server.force_exit = True
                thread.join(timeout=PATIENCE_S)

    return telling
