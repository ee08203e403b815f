"""A sweep by the clock and after drift: what is told, once, and what it leaves alone."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.plumbing.errors import ConstraintsError, ModelyardError, PromotionError, TimeLimitError
from components.recipes import load_recipe
from flows.upkeep import sweep as flow
from flows.upkeep.sweep import followed_by_sweep, tell_once
from tests.projects import ROOT, edit


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    edit(tmp_path, "digits.monitoring.retrain", "sweep")
    return tmp_path


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sweeps that were started."""
    started: list[Any] = []
    monkeypatch.setattr(flow, "sweep", lambda *given: started.append(given))
    return started


def test_sweep_follows_a_retraining_for_drift_whatever_came_of_it(project: Path, swept: list[Any]) -> None:
    settings = load_recipe(project, "digits")
    with followed_by_sweep(project, "digits", settings, cause="drift", limit_s=60):
        pass
    with pytest.raises(PromotionError, match="worse"):
        with followed_by_sweep(project, "digits", settings, cause="drift", limit_s=60):
            raise PromotionError("worse", report={})
    assert swept == [("digits", str(project), 60)] * 2


@pytest.mark.parametrize("error", [TimeLimitError("too long"), KeyboardInterrupt(), None])
def test_no_sweep_after_what_was_cut_off_or_no_drift(
    project: Path, swept: list[Any], error: BaseException | None
) -> None:
    settings = load_recipe(project, "digits")
    if error is None:
        with followed_by_sweep(project, "digits", settings, cause="schedule", limit_s=None):
            pass
    else:
        with pytest.raises(type(error)), followed_by_sweep(project, "digits", settings, cause="drift", limit_s=None):
            raise error
    edit(project, "digits.monitoring.retrain", True)
    with followed_by_sweep(project, "digits", load_recipe(project, "digits"), cause="drift", limit_s=None):
        pass
    assert swept == []


def test_sweep_that_fails_changes_nothing_of_the_retraining(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise ConstraintsError("no trial is within the constraints", report={})

    monkeypatch.setattr(flow, "sweep", failing)
    done: list[ModelyardError | None] = []
    with followed_by_sweep(project, "digits", load_recipe(project, "digits"), cause="drift", limit_s=None):
        done.append(None)
    assert done == [None]


def test_what_was_found_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(flow, "tell_of_settings", lambda *given: told.append(given))

    def found(number: int) -> Any:
        return SimpleNamespace(
            plan=SimpleNamespace(name="digits"), folders=SimpleNamespace(folder=tmp_path / "abc"), words="better",
            best=SimpleNamespace(number=number), changes={"finetune.epochs": 3}, run_id="1",
        )  # fmt: skip

    for number in (3, 3, 5):
        tell_once(tmp_path, found(number))
    assert [one[1:] for one in told] == [("digits", "better", {"finetune.epochs": 3}, "1")] * 2
