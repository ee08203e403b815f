import json
import re
import subprocess
from pathlib import Path

import pytest

from components.tracking.store import Store
from tests.projects import make_project, run


def profile(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["modelyard", "profile", *words], folder, check=False)


@pytest.mark.long
def test_profile_says_which_command_makes_its_inputs_and_changes_nothing_but_the_trace(
    tmp_path: Path, prefect_api: str
) -> None:
    project = make_project(tmp_path / "project", num_rows=200)
    refused = profile(project, "tiny")
    assert refused.returncode == 2
    (command,) = re.findall(r"reads what preprocess makes, .* yet; '(.+)' makes it$", refused.stderr.strip())
    assert command == "modelyard run tiny --until pretrain"
    run(command.split(), project, PREFECT_API_URL=prefect_api)
    other = profile(project, "tiny", "--stage", "pretrain")
    assert other.returncode == 2
    assert "mode is 'load'; its training is that of finetune: modelyard profile tiny --stage finetune" in other.stderr

    def state() -> dict[str, object]:
        kept = ("artifacts", "checkpoints", "dvc.lock", "params.yaml", "mlflow.db")
        files = [path for name in kept for path in [project / name, *(project / name).rglob("*")] if path.is_file()]
        runs = {run.info.run_id: run.info.status for run in Store(project, "tiny").search("")}
        return {"files": {path: path.stat().st_mtime_ns for path in files}, "runs": runs}

    before = state()
    done = profile(project, "tiny", "--steps", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["recipe"], found["stage"], found["num_steps"]) == ("tiny", "finetune", 4)
    assert found["trace"] == str(project / "observations/tiny/profile/finetune.pt.trace.json.gz")
    assert Path(found["trace"]).is_file()
    shown = profile(project, "tiny", "--steps", "4")
    assert len(re.findall(r"^\S.* +[\d.]+% +[\d.e-]+ m?s +\d+ *$", shown.stdout, re.M)) == 10
    assert re.search(r"^optimizer +[\d.]+%", shown.stdout, re.M)
    assert re.search(r"^share of the limit +[\d.]+%", shown.stdout, re.M)
    assert " binds: " in shown.stdout or " bind: " in shown.stdout
    assert state() == before
