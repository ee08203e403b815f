import re
import shutil
import subprocess
from contextlib import nullcontext as does_not_raise
from pathlib import Path

import pytest

from components.plumbing.errors import InputError
from flows.operate.doctor import look_at_tools
from flows.pipeline.graph import Stage, check_reached, open_repo
from tests.projects import environment, git_commit, make_project, run

STAGES = [Stage(name, "tiny", "", (), 0, 0.0, None) for name in ("ingest", "validate", "preprocess")]


def test_stage_that_would_not_be_reached_cannot_be_forced() -> None:
    with pytest.raises(InputError, match="--force preprocess: it comes after --until validate, so it would not run"):
        check_reached(("ingest", "preprocess"), "validate", STAGES)


@pytest.mark.parametrize("until", [None, "validate", "preprocess"])
def test_stage_that_is_reached_can_be_forced(until: str | None) -> None:
    with does_not_raise():
        check_reached(("ingest", "validate"), until, STAGES)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose dvc.lock is committed."""
    root = make_project(tmp_path_factory.mktemp("graph") / "project", num_rows=20)
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    for command in (["git", "add", "-A"], git_commit("lock")):
        run(command, root)
    return root


CONFLICT = "<<<<<<< ours\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("dvc.lock", "", "dvc.lock is empty, as a power cut"),
        ("dvc.lock", CONFLICT, "dvc.lock holds the marks of a merge conflict"),
        (".dvc/tmp/rwlock", "", "rwlock is empty, as a power cut"),
        (".git", None, "is in no git repository, which DVC wants"),
    ],
)
def test_what_a_power_cut_leaves_is_named_with_a_command_that_mends_it(
    committed: Path, tmp_path: Path, path: str, content: str | None, said: str
) -> None:
    root = Path(shutil.copytree(committed, tmp_path / "a project"))
    assert [check.state for check in look_at_tools(root)] == ["ok"]
    if content is None:
        shutil.rmtree(root / path)
    else:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    with pytest.raises(InputError, match=said) as error:
        open_repo(root)
    (check,) = look_at_tools(root)
    assert (check.state, said in check.found) == ("fail", True)
    commands = [command for command in re.findall(r"'((?:git|rm|dvc) .+?)'(?: |$)", f"{error.value} ")]
    subprocess.run(commands[0], shell=True, check=True, cwd=root, env=environment(), capture_output=True)
    open_repo(root)
    assert [check.state for check in look_at_tools(root)] == ["ok"]
