import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import ROOT

CODE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flows.pipeline.run import open_meanwhile

beside = set()


class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            beside.add(name)


sys.meta_path.insert(0, Watch())
with ThreadPoolExecutor(1) as pool:
    store = open_meanwhile(pool, Path(sys.argv[1]), "tiny").result()
    assert store.experiment_id
assert "fastapi" in sys.modules
print(*sorted(beside))
"""


@pytest.mark.long
def test_thread_that_opens_mlflow_imports_no_package_that_prefect_imports_meanwhile(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    beside = {name for name in done.stdout.split() if not name.startswith("sqlalchemy.dialects.")}
    shared = {"cryptography", "fastapi", "greenlet", "opentelemetry", "prefect", "pydantic", "sqlalchemy", "starlette"}
    assert not {name.partition(".")[0] for name in beside} & shared
