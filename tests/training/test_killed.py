"""Trainings that a SIGKILL ends, once and again, come to the same weights, bit for bit, on the same rows."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.lives import TRAININGS, Moment, lived, make_rows, outcome, random_moments

LONGEST = ("texts", "recurrent", "causal", "adversarial")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.long] if name in LONGEST else []) for name in TRAININGS],
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """A training's name, its rows, and what it came to without a kill."""
    folder = tmp_path_factory.mktemp(request.param)
    make_rows(request.param, folder)
    assert lived(request.param, folder, folder / "whole", [None]) == [0]
    return request.param, folder, outcome(folder / "whole")


def compare(name: str, rows: Path, folder: Path, moments: list[Moment | None], expected: Any) -> list[int]:
    codes = lived(name, rows, folder, moments)
    assert codes[-1] == 0, (codes, moments)
    weights, figures, taken = outcome(folder)
    assert figures == expected[1], moments
    assert taken == expected[2], moments
    assert weights == expected[0], moments
    return codes


def test_killed_in_a_batch_in_a_look_and_twice_in_a_checkpoint(whole: tuple[str, Path, Any], tmp_path: Path) -> None:
    name, rows, expected = whole
    taken = expected[2]
    assert list(taken) == list(range(len(taken)))
    if name not in ("causal", "recurrent"):  # which read windows that begin anywhere
        num_epochs = expected[1]["epoch"]
        seen = sorted(row for step in taken.values() for row in step)
        assert seen == sorted(num_epochs * list(range(len(seen) // num_epochs)))
    is_in_parts = "micro_batch_size" in TRAININGS[name][1]
    in_a_batch = Moment("parts", 4) if is_in_parts else Moment("backward", 7)
    # The 13th of these is the first half of the second checkpoint's first file, the 11th comes once one is in place.
    moments = [in_a_batch, Moment("look", 1), Moment("disk", 13), Moment("disk", 11), None]
    assert compare(name, rows, tmp_path / "killed", moments, expected) == [-9, -9, -9, -9, 0]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(7))
def test_killed_at_random_moments(whole: tuple[str, Path, Any], tmp_path: Path, seed: int) -> None:
    name, rows, expected = whole
    moments = random_moments(name, seed=seed, num_kills=1 + seed % 3)
    compare(name, rows, tmp_path / "killed", moments, expected)
