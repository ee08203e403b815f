import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.environment import PREFECT_SERVER, do_without_prefect, prepare_environment, profile_of_prefect
from components.plumbing.errors import ArtifactError, BusyError, InputError, QualityError
from components.promotion.ledger import append
from flows.cli import cli, find_project, main
from flows.operate.doctor import look_at_prefect
from flows.pipeline.stage import StageError
from flows.servers.tools import note_server, prefect_for_a_run
from flows.telling.answer import keep
from tests.projects import ROOT, environment, make_project, run
from tests.terminal import on_terminal

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
        "canary", "completion", "deploy", "doctor", "down", "estimate", "keys", "ledger", "monitor", "new", "notify",
        "profile", "promote", "recipes", "retrain", "rollback", "run", "serve", "status", "sweep", "ui", "up",
        "why", "worker",
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
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (2, "InputError")
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


@pytest.mark.parametrize(
    ("words", "kind", "code", "said"),
    [
        (["run", "digits", "--jsn", "--json"], "UsageError", 2, "No such option '--jsn'"),
        (["walk", "--json"], "UsageError", 2, "No such command 'walk'"),
        (["run", "--json"], "UsageError", 2, "Missing argument 'RECIPE'"),
        (["serve", "digits", "--json"], "UsageError", 2, "No such option '--json'"),
        (["why", "digitz", "--json"], "ParamsError", 2, "did you mean 'digits'?"),
        (["estimate", "--json"], "InputError", 2, "name a recipe"),
        (["monitor", "digits", "--since", "x", "--json"], "InputError", 2, "--since is 'x'"),
    ],
)
def test_an_error_is_json_where_json_is_asked_for(
    project: Path, words: list[str], kind: str, code: int, said: str
) -> None:
    done = modelyard(project, *words)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit_code"], answer["kind"], answer["is_transient"]) == (code, code, kind, False)
    assert said in answer["error"]
    assert said in done.stderr


def test_every_end_of_a_command_is_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(error: BaseException | None, report: dict[str, object] | None = None) -> tuple[int, dict[str, object]]:
        def command(*_args: object, **_more: object) -> int:
            if report is not None:
                keep(report)
            if error is not None:
                raise error
            return 0

        monkeypatch.setattr(cli, "main", command)
        with pytest.raises(SystemExit) as ended:
            main(["run", "x", "--json"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    gate = {"accuracy": 0.5}
    assert ends(QualityError("below the bar", report=gate)) == (
        3, {"error": "below the bar", "kind": "QualityError", "exit_code": 3, "is_transient": False, "report": gate}
    )  # fmt: skip
    stage = StageError("evaluate@x: below", stage="evaluate", kind="QualityError", report=Path("report.json"))
    stage.exit_code = 3
    code, answer = ends(stage)
    assert (code, answer["kind"], answer["stage"], answer["report"]) == (3, "QualityError", "evaluate", "report.json")
    assert ends(KeyboardInterrupt()) == (
        130, {"error": "interrupted", "kind": "Interrupted", "exit_code": 130, "is_transient": False}
    )  # fmt: skip
    code, answer = ends(BusyError("another run holds x"))
    assert (code, answer["kind"]) == (1, "BusyError")
    code, answer = ends(ZeroDivisionError("x"))
    assert (code, answer["kind"]) == (1, "ZeroDivisionError")
    code, answer = ends(ArtifactError("broken"), {"entries": []})  # still one object
    assert (code, answer["entries"], answer["error"]) == (2, [], "broken")
    assert ends(None, {"entries": []}) == (0, {"entries": []})


def test_run_says_something_before_anything_heavy_is_loaded(project: Path) -> None:
    code = (
        "import sys, components.plumbing.logs as logs\n"
        "logs.say = lambda text: (print(text), print('LOADED', *sys.modules), sys.exit(0))\n"
        "import flows.cli; flows.cli.main()"
    )
    for word in ("run", "retrain"):
        done = subprocess.run(
            [sys.executable, "-c", code, word, "digits"], cwd=project, env=environment(PYTHONPATH=str(ROOT)),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        said, loaded = done.stdout.split("LOADED", 1)
        assert said.startswith("digits: starting")
        assert not set(HEAVY) & set(loaded.split())


def test_wrong_words_end_with_2(project: Path) -> None:
    done = modelyard(project, "run")
    assert done.returncode == 2
    assert "Missing argument 'RECIPE'" in done.stderr
    assert modelyard(project, "walk").returncode == 2


def test_recipes_and_stages_complete(project: Path) -> None:
    assert completed(project, "run", "mov") == ["movie_sentiment", "movie_sentiment_small"]
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
    command = ["modelyard", "run", "tiny", "--until", "ingest", "--force", "ingest"]
    code, seen = on_terminal(command, project, PREFECT_API_URL=prefect_api)
    lines = seen[-1]
    assert code == 0, lines
    assert lines[:2] == ["tiny: starting (DVC, Prefect and MLflow take seconds to load)",
                         "ingest     starts: Read the source's rows with one query"]  # fmt: skip
    assert any(line.startswith("ingest     ran in ") for line in lines)
    printed = "\n".join(lines)
    rows = (r"ingest +ran +([\d.]+)$", r"beside them .* ([\d.]+)$", r"in all +([\d.]+)$")
    ran, beside, total = (float(re.findall(row, printed, re.M)[-1]) for row in rows)
    assert round(ran + beside, 1) == total
    assert "  modelyard ui" in printed
    assert "dvc repro ingest@tiny" in printed
    assert "modelyard serve" not in printed  # there is nothing to serve yet
    done = modelyard(project, "run", "tiny", "--until", "ingest", PREFECT_API_URL=prefect_api)
    assert ["ingest", "cached"] in [line.split()[:2] for line in done.stdout.splitlines()]
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
    profile = 'active = "my own"\n[profiles."my own"]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    (tmp_path / ".prefect" / "profiles.toml").write_text(profile)
    prepare_environment(tmp_path)
    assert (os.environ["BENTOML_HOME"], os.environ["PREFECT_HOME"]) == ("/mine", "")
    with prefect_for_a_run(tmp_path):  # the profile names a server
        assert os.environ["PREFECT_API_URL"] == ""

    (check,) = look_at_prefect(tmp_path)
    assert "http://127.0.0.1:9/api does not answer" in check.found
    assert check.mend == do_without_prefect()
    command = check.mend.rpartition(": ")[2]
    run(["/bin/sh", "-c", command], tmp_path, HOME=str(tmp_path))
    assert profile_of_prefect() == ("my own", "")
    with prefect_for_a_run(tmp_path) as wait:  # which no profile has to name any more
        assert os.environ["PREFECT_API_URL"]
        wait()


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
    note_server(tmp_path, PREFECT_SERVER, prefect_api)
    shutil.copytree(note.parent, tmp_path / "copy" / note.parent.name)
    prepare_environment(tmp_path / "copy")
    assert os.environ["PREFECT_API_URL"] == ""
    monkeypatch.setenv("PREFECT_HOME", "")
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_API_URL"] == prefect_api
    monkeypatch.setenv("PREFECT_HOME", "")
    monkeypatch.setenv("PREFECT_API_URL", "")
    note.write_text(json.dumps({"url": prefect_api}), encoding="utf-8")
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_API_URL"] == prefect_api
