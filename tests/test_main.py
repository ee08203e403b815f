"""`python -m components <stage> <recipe>`, as DVC calls it."""

import shutil
import sys
from pathlib import Path

import pytest

from components.__main__ import run_stage
from components.plumbing.artifacts import Layout, read_json
from components.recipes import load_recipe
from components.tracking.store import Store
from components.tracking.tracker import NullTracker
from tests.projects import ROOT, run

CHANGING = """
import sys
from pathlib import Path
import components.__main__ as entry
from tests.projects import edit
read, num_read = entry.load_recipe, 0
def read_then_change(root, recipe):
    global num_read
    num_read += 1
    settings = read(root, recipe)
    edit(root, f"{recipe}.finetune.epochs", 2)
    edit(root, f"{recipe}.finetune.optimizer.learning_rate", 0.5)
    return settings
entry.load_recipe = read_then_change
code = entry.main(["finetune", "tiny"])
Path("num_read").write_text(str(num_read))
sys.exit(code)
"""


@pytest.mark.long
def test_the_settings_that_were_checked_are_those_that_run_and_those_that_are_logged(
    trained_arrays: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(trained_arrays, tmp_path / "project"))
    run_stage(root, "tiny", "pretrain", tracker=NullTracker())
    wanted = load_recipe(root, "tiny").finetune
    run([sys.executable, "-c", CHANGING], root, PYTHONPATH=str(ROOT))
    changed = load_recipe(root, "tiny").finetune
    assert (changed.epochs, changed.optimizer.learning_rate) == (2, 0.5)

    assert (root / "num_read").read_text() == "1"
    assert read_json(Layout(root, "tiny", "finetune").artifact / "report.json")["num_epochs"] == wanted.epochs == 6
    store = Store(root, "tiny")
    (logged,) = store.search("tags.`modelyard.stage` = 'finetune'")
    assert logged.data.params["epochs"] == str(wanted.epochs)
    assert float(logged.data.params["optimizer.learning_rate"]) == wanted.optimizer.learning_rate
    rates = [point.value for point in store.client.get_metric_history(logged.info.run_id, "learning_rate")]
    assert max(rates) == pytest.approx(wanted.optimizer.learning_rate, rel=0.2)  # its highest, after the warm-up
