"""What is raised for a stage that DVC says failed: Prefect's pages show its traceback."""

import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dvc.exceptions import ReproductionError
from dvc.stage.exceptions import StageCmdFailedError

from components.plumbing.artifacts import ERROR, Layout, write_json
from flows.pipeline import stage as module
from flows.pipeline.stage import StageError


@pytest.mark.parametrize(("code", "has_dvcs"), [(3, False), (1, True)], ids=["verdict", "error"])
def test_verdict_is_told_without_dvcs_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, has_dvcs: bool
) -> None:
    said = Layout(tmp_path, "tiny", "evaluate").observations / ERROR
    said.parent.mkdir(parents=True)
    write_json(said, {"message": "accuracy is 0.5, below 0.9", "exit_code": code, "is_transient": False})

    def reproduce(*_: Any, **__: Any) -> None:
        try:
            raise StageCmdFailedError("python -m components evaluate tiny", code)
        except StageCmdFailedError as error:
            raise ReproductionError("evaluate@tiny") from error

    monkeypatch.setattr(module, "open_repo", lambda _: SimpleNamespace(reproduce=reproduce))
    stage: Any = SimpleNamespace(recipe="tiny", name="evaluate", address="evaluate@tiny")
    with pytest.raises(StageError, match=r"evaluate@tiny: accuracy is 0\.5, below 0\.9") as error:
        module._reproduce(tmp_path, stage, force=False)
    assert error.value.exit_code == code
    assert ("StageCmdFailedError" in "".join(traceback.format_exception(error.value))) == has_dvcs


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        (
            -9,
            "finetune",
            "was killed (signal 9), most likely for memory: set micro_batch_size, lower max_tokens, or close",
        ),
        (137, "validate", "was killed (signal 9), most likely for memory: close"),
        (-11, "compress", "crashed (signal 11, SIGSEGV)"),
        (7, "compress", "ended with 7"),
    ],
)
def test_end_of_a_process_that_said_nothing_is_told_in_words(code: int, name: str, said: str) -> None:
    stage: Any = SimpleNamespace(recipe="tiny", name=name, address=f"{name}@tiny")
    assert f"its process {said}" in module.words_of_end(code, stage)
