import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.projects import edit
from tests.promotion.bundles import make_bundle, note, register, spoil


@pytest.fixture(scope="session")
def versions(compressed: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A project whose recipe `tiny` has three versions: the champion, as good a one, and one that knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = Path(shutil.copytree(compressed, tmp_path_factory.mktemp("versions") / "project"))
        edit(root, "tiny.promotion.slices", {"by": ["label"], "max_drop": 0.1, "min_rows": 10})
        for name, change in (("first", lambda _: None), ("second", note("as good")), ("third", spoil)):
            register(root, make_bundle(root, root / "made" / name, change))
        yield root


@pytest.fixture
def project(versions: Path, tmp_path: Path) -> Path:
    """A copy to change: the registry's own files are shared, since it knows them by where they lie."""
    shutil.copytree(versions, tmp_path / "project")
    return tmp_path / "project"
