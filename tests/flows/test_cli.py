import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.environment import PREFECT_SERVER, prepare_environment
from components.errors import InputError
from components.promotion.ledger import append
from flows.cli import cli, find_project
from flows.servers import prefect_for_a_run
from tests.projects import ROOT, make_project, run

COMMANDS = sorted(cli.commands)
HEAVY = ("bentoml", "duckdb", "dvc", "httpx", "numpy", "prefect", "psutil", "pydantic", "rich", "ruamel", "torch")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What commands need that run no stage: the two files that make a folder a project."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def modelyard(folder: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return run(["modelyard", *words], folder, check=False, **extra)


def completed(folder: Path, *words: str) -> list[str]:
    """What the shell would offer for the last of the words."""
    line = " ".join(["modelyard", *words])
    done = modelyard(folder, COMP_WORDS=line, COMP_CWORD=str(len(words)), _MODELYARD_COMPLETE="bash_complete")
    assert done.returncode == 0, done.stderr
    return [offer.removeprefix("plain,") for offer in done.stdout.splitlines() if offer]


def test_help_lists_every_command(project: Path) -> None:
    done = modelyard(project, "--help")
    assert done.returncode == 0
    assert COMMANDS == [
        "canary", "completion", "deploy", "doctor", "down", "estimate", "keys", "ledger", "monitor", "new", "promote",
        "recipes", "retrain", "rollback", "run", "serve", "status", "ui", "up", "why", "worker",
    ]  # fmt: skip
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_ledger_keeps_the_history_of_a_recipe_that_was_removed(project: Path) -> None:
    append(project, {"recipe": "old_one", "action": "adopt", "by": "me", "through": "test", "to": {"version": 7}})
    done = modelyard(project, "ledger", "old_one", "--json")
    assert done.returncode == 0, done.stderr
    assert [entry["to"]["version"] for entry in json.loads(done.stdout)["entries"]] == [7]
    done = modelyard(project, "ledger", "old_onn")
    assert done.returncode == 2
    assert "no recipe 'old_onn' in params.yaml" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_teaches_with_an_example(name: str) -> None:
    text = cli.commands[name].help or ""
    assert "Example" in text
    assert f"modelyard {name}" in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); import flows.cli; flows.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split("LOADED", 1)[1].split()
    assert "click" in loaded
    assert not set(HEAVY) & set(loaded)


def test_project_is_found_from_a_folder_below_and_by_option(project: Path, tmp_path_factory: Any) -> None:
    below, elsewhere = project / "a" / "b", tmp_path_factory.mktemp("elsewhere")
    below.mkdir(parents=True)
    assert find_project(below) == project
    for done in (
        modelyard(below, "recipes", "--json"),
        modelyard(elsewhere, "--project", str(project), "recipes", "--json"),
    ):
        assert "movie_sentiment" in [recipe["recipe"] for recipe in json.loads(done.stdout)["recipes"]]
    done = modelyard(elsewhere, "recipes", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not in a project" in done.stderr
    with pytest.raises(InputError, match=r"holds dvc.yaml and params.yaml"):
        find_project(elsewhere)


def test_error_is_one_line_and_debug_adds_the_traceback(project: Path) -> None:
    done = modelyard(project, "serve", "movie_sentimant")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "modelyard: no recipe 'movie_sentimant' in params.yaml (did you mean 'movie_sentiment'?)"
    )
    assert done.stderr.count("\n") == 1
    assert "Traceback" in modelyard(project, "--debug", "serve", "movie_sentimant").stderr


def test_wrong_words_end_with_2(project: Path) -> None:
    done = modelyard(project, "run")
    assert done.returncode == 2
    assert "Missing argument 'RECIPE'" in done.stderr
    assert modelyard(project, "walk").returncode == 2


def test_recipes_and_stages_complete(project: Path) -> None:
    assert completed(project, "run", "mov") == ["movie_sentiment"]
    assert completed(project, "run", "x") == []
    assert completed(project, "run", "movie_sentiment", "--until", "p") == ["preprocess", "pretrain", "package"]
    (project / "params.yaml").write_text("recipes: [", encoding="utf-8")
    assert completed(project, "run", "mov") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(project: Path, shell: str) -> None:
    done = modelyard(project, "completion", shell)
    assert done.returncode == 0
    assert f"_MODELYARD_COMPLETE={shell}_complete" in done.stdout


def test_stage_that_takes_too_long_is_ended_and_says_which_limit(tmp_path: Path, prefect_api: str) -> None:
    project = make_project(tmp_path / "project", num_rows=60)
    dag = (project / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(dag.replace("timeout_s: 3600", "timeout_s: 0.5", 1), encoding="utf-8")
    done = modelyard(project, "run", "tiny", "--until", "ingest", PREFECT_API_URL=prefect_api)
    assert done.returncode == 1
    assert "ingest@tiny: it took longer than 0.5 s; raise timeout_s" in done.stderr.splitlines()[-1]


def test_run_prints_one_json_object_and_then_one_table(tmp_path: Path, prefect_api: str) -> None:
    project = make_project(tmp_path / "project", num_rows=60)
    done = modelyard(project, "run", "tiny", "--until", "ingest", "--json", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(stage["stage"], stage["state"]) for stage in report["stages"]] == [("ingest", "ran")]
    assert report["reports"]["ingest"]["num_rows"] == 60
    done = modelyard(project, "run", "tiny", "--until", "ingest", PREFECT_API_URL=prefect_api)
    assert ["ingest", "cached"] in [line.split()[:2] for line in done.stdout.splitlines()]
    assert "modelyard ui" in done.stdout
    assert "dvc repro ingest@tiny" in done.stdout
    assert "modelyard serve" not in done.stdout  # there is nothing to serve yet
    done = modelyard(project, "why", "tiny", "--json")
    states = {stage["stage"]: stage["would_run"] for stage in json.loads(done.stdout)["stages"]}
    assert (states["ingest"], states["package"]) == (False, True)


def test_homes_of_the_tools_are_in_the_project_unless_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENTOML_HOME", "PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/somewhere")
    prepare_environment(tmp_path)
    assert os.environ["BENTOML_HOME"] == str(tmp_path / ".modelyard" / "bentoml")
    assert os.environ["PREFECT_HOME"] == str(tmp_path / ".modelyard" / "prefect")
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/somewhere"]

    monkeypatch.setenv("PREFECT_HOME", "")
    monkeypatch.setenv("BENTOML_HOME", "/mine")
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").touch()
    prepare_environment(tmp_path)
    assert (os.environ["BENTOML_HOME"], os.environ["PREFECT_HOME"]) == ("/mine", "")
    with prefect_for_a_run(tmp_path):  # the profile may name a server
        assert os.environ["PREFECT_API_URL"] == ""


def test_runs_go_to_the_prefect_server_that_is_up(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BENTOML_HOME", "PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    note = tmp_path / PREFECT_SERVER
    note.parent.mkdir()
    note.write_text('{"url": "http://127.0.0.1:1/api"}', encoding="utf-8")  # one that was killed
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_API_URL"] == ""
    monkeypatch.setenv("PREFECT_HOME", "")
    note.write_text(json.dumps({"url": prefect_api}), encoding="utf-8")
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_API_URL"] == prefect_api
