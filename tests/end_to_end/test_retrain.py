"""The loop as a user runs it: nothing new, new rows, a challenger that the gate refuses, a limit."""

import json
import shutil
from pathlib import Path

import pytest

from components.promotion.ledger import entries, verify
from tests.projects import edit, make_project, run, write_rows
from tests.tiny import tiny_rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    """A project whose first version is the champion."""
    folder = make_project(tmp_path_factory.mktemp("loop") / "project", num_rows=240)
    run(["modelyard", "run", "tiny"], folder, PREFECT_API_URL=prefect_api)
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project", symlinks=True))


def champion(folder: Path) -> int:
    return json.loads((folder / ".modelyard/champions/tiny.json").read_text())["version"]


@pytest.mark.timeout(900)
def test_nothing_new_runs_nothing_and_says_so(project: Path, prefect_api: str):
    done = run(["modelyard", "retrain", "tiny", "--json"], project, PREFECT_API_URL=prefect_api)
    said = json.loads(done.stdout)
    assert said["state"] == "nothing new"
    assert "the source gave the rows that it gave before, so nothing ran" in said["why"]
    assert {stage["stage"] for stage in said["stages"] if stage["state"] == "ran"} == {"ingest"}
    assert champion(project) == said["version"] == 1
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt"]


@pytest.mark.timeout(900)
def test_new_rows_give_a_challenger_which_the_gate_refuses_or_promotes(project: Path, prefect_api: str):
    write_rows(project / "data/rows.csv", tiny_rows(280))
    edit(project, "tiny.promotion.max_size_ratio", 0.5)
    refused = run(["modelyard", "retrain", "tiny"], project, check=False, PREFECT_API_URL=prefect_api)
    assert refused.returncode == 3
    assert "version 2 does not take the place of version 1: " in refused.stderr.splitlines()[-1]
    assert champion(project) == 1
    again = run(["modelyard", "retrain", "tiny", "--json"], project, PREFECT_API_URL=prefect_api)
    assert json.loads(again.stdout)["state"] == "nothing new"  # what was refused is not judged again by itself
    edit(project, "tiny.promotion.max_size_ratio", 2.0)
    run(["modelyard", "promote", "tiny", "--version", "2"], project)
    assert champion(project) == 2
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt", "refuse", "promote"]
    run(["modelyard", "rollback", "tiny"], project)
    assert champion(project) == 1
    assert verify(project) == []
    run(["modelyard", "ledger", "tiny"], project)
    ledger = project / ".modelyard/ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("refuse", "revere"))
    broken = run(["modelyard", "ledger"], project, check=False)
    assert broken.returncode == 2
    assert "line 2 was changed" in broken.stderr


@pytest.mark.timeout(900)
def test_run_over_its_limit_is_stopped_and_the_champion_stays(project: Path, prefect_api: str):
    edit(project, "tiny.finetune.epochs", 5000)
    edit(project, "tiny.finetune.early_stopping.patience", 5000)
    done = run(["modelyard", "retrain", "tiny", "--limit", "20"], project, check=False, PREFECT_API_URL=prefect_api)
    assert done.returncode == 1
    assert "tiny: the run took longer than 20 s and was stopped" in done.stderr.splitlines()[-1]
    assert "evaluate" not in done.stderr  # the stage itself was stopped, not only those after it
    listed = run(["modelyard", "ledger", "--json"], project)
    assert "refuse" not in listed.stdout
