import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from components.__main__ import run_stage
from components.package.bento import free_port
from components.plumbing.environment import prepare_environment
from components.tracking.tracker import NullTracker
from tests.browser import Browser, browsing, find_chromium
from tests.patience import PATIENCE_S, wait_until
from tests.projects import environment
from tests.tiny_arrays import make_trained_arrays
from tests.tiny_images import make_generating
from tests.tiny_model import make_trained

prepare_environment()
# Where the tests run in the background, the shell has them ignore Ctrl-C, and what they start would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a Prefect server that all tests share."""
    home: Path = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            env=environment(PREFECT_HOME=str(home), PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1"),
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until_it_answers(f"{url}/health", server, home / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(url, timeout=PATIENCE_S).is_success
        return False

    wait_until(answers, log.read_text, within_s=3 * PATIENCE_S, every_s=0.25)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        reason = "no Chromium here; on Debian and Ubuntu: apt-get install chromium"
        if os.environ.get("NEEDS_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    with browsing(chromium, tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the artifacts of a recipe `tiny` up to evaluate; copy it before you change it."""
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def compressed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with compress."""
    root = Path(shutil.copytree(trained, tmp_path_factory.mktemp("compressed") / "project"))
    run_stage(root, "tiny", "compress", tracker=NullTracker())
    return root


@pytest.fixture(scope="session")
def bento_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """BentoML's store for the tests."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("bentoml")
        patch.setenv("BENTOML_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def packaged(compressed: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with package: the Bento is in `bento_home`."""
    root = Path(shutil.copytree(compressed, tmp_path_factory.mktemp("packaged") / "project"))
    run_stage(root, "tiny", "package", tracker=NullTracker())
    return root


@pytest.fixture(scope="session")
def trained_arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose recipe `tiny` tells pictures apart, up to evaluate; copy it before you change it."""
    return make_trained_arrays(tmp_path_factory.mktemp("trained_arrays"))


@pytest.fixture(scope="session")
def compressed_arrays(trained_arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with compress."""
    root = Path(shutil.copytree(trained_arrays, tmp_path_factory.mktemp("compressed_arrays") / "project"))
    run_stage(root, "tiny", "compress", tracker=NullTracker())
    return root


@pytest.fixture(scope="session")
def packaged_arrays(compressed_arrays: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with package: the Bento is in `bento_home`."""
    root = Path(shutil.copytree(compressed_arrays, tmp_path_factory.mktemp("packaged_arrays") / "project"))
    run_stage(root, "tiny", "package", tracker=NullTracker())
    return root


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the artifacts of a generator of images, recipe `tiny`, up to evaluate."""
    root = make_generating(tmp_path_factory.mktemp("generated"))
    for stage in ("pretrain", "finetune", "evaluate"):
        run_stage(root, "tiny", stage, tracker=NullTracker())
    return root


@pytest.fixture(scope="session")
def generator_bundle(generated: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with compress and package: the Bento is in `bento_home`."""
    root = Path(shutil.copytree(generated, tmp_path_factory.mktemp("generator") / "project"))
    for stage in ("compress", "package"):
        run_stage(root, "tiny", stage, tracker=NullTracker())
    return root
