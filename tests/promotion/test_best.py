"""The best champion so far is compared with as well: a chain of small drops ends, on a real registry and ledger."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from components.comparison.duel import Comparison, paired
from components.evaluate.bootstrap import Figures, Weights
from components.params import Bootstrap
from components.plumbing.errors import PromotionError
from components.promotion import gate
from components.promotion.best import former_champions
from components.promotion.champions import better_one
from components.promotion.decide import promote, rollback
from components.promotion.ledger import HEAD, LEDGER, append, entries
from components.tracking.registry import CHAMPION, CHAMPIONS
from tests.projects import edit
from tests.promotion.bundles import make_bundle, note, register, registry

NUM_ROWS = 1000


@dataclass(frozen=True)
class NotedDuel:
    """A duel of models that are wrong on as many rows as their bundle notes, each on rows of its own."""

    metric: str = "accuracy"
    unit: str = "row"
    indifference: float = 0.002
    items: tuple[int, ...] = (0,)

    def load(self, bundle: Path, *, threads: int) -> Path:
        return bundle

    def work(self, runner: Path, items: Any) -> int:
        return len(items)

    def answers(self, runner: Path) -> NDArray[np.float32]:
        num_wrong = int((runner / "note.txt").read_text())
        right = np.ones(NUM_ROWS, np.float32)
        right[np.random.default_rng(num_wrong).permutation(NUM_ROWS)[:num_wrong]] = 0
        return right

    def compare(
        self, champion: NDArray[np.float32], challenger: NDArray[np.float32], *, bootstrap: Bootstrap
    ) -> Comparison:
        def accuracy(right: NDArray[np.float32], weights: Weights) -> Figures:
            return {"accuracy": (right @ weights / weights.sum(axis=0)).astype(np.float64)}

        before, after, drop = paired(
            lambda weights: accuracy(champion, weights), lambda weights: accuracy(challenger, weights), "accuracy",
            num_rows=NUM_ROWS, bootstrap=bootstrap, sign=1.0,
        )  # fmt: skip
        return Comparison("the rows", before, after, *drop.tolist())


class NotedTask:
    def promotion_metric(self, _: object) -> str:
        return "accuracy"

    def duel(self, _: object, *, metric: str) -> NotedDuel:
        return NotedDuel(metric)


@pytest.fixture
def chain(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Four versions, each 1.2 points worse than the one before; their numbers, by the rows that they get wrong. The
    first is the champion."""
    monkeypatch.setattr(gate, "task_of", lambda _: NotedTask())
    monkeypatch.setattr(gate, "held_out", lambda *_: None)
    edit(project, "tiny.promotion.slices", None)
    edit(project, "tiny.promotion.latency.max_ratio", 1e6)
    edit(project, "tiny.promotion.max_drop", 0.08)
    edit(project, "tiny.promotion.indifference", None)
    numbers = {
        wrong: register(project, make_bundle(project, project / f"made/{wrong}", note(str(wrong))))
        for wrong in (100, 112, 124, 136)
    }
    promote(project, "tiny", number=numbers[100], force="the first", through="test")
    return numbers


def step(project: Path, number: int) -> dict[str, Any]:
    promote(project, "tiny", number=number, force=None, through="test")
    return entries(project, "tiny")[-1]


def test_small_steps_down_do_not_add_up(project: Path, chain: dict[int, int]) -> None:
    first, second, third, fourth = chain.values()
    for number in (second, third):
        line = step(project, number)
        assert line["best"]["version"] == first
        assert f"the best so far is version {first}" in line["reason"]
        told = better_one(project, "tiny")
        assert told is not None
        assert told["version"] == first  # which 'modelyard status' says, and whose bundle stays on this machine
        assert line["figures"]["drop_low"] < 0.002  # beside the champion alone it cannot be told apart
    with pytest.raises(PromotionError, match=rf"beside that of version {first}, the best so far: 0\.9000") as caught:
        step(project, fourth)
    report = caught.value.report
    assert report["drop_low"] < 0.002 < report["best_drop_low"]
    assert (report["champion"], report["best_figure"], report["best"]) == (0.876, 0.9, f"version {first}")
    champion = registry(project).at(CHAMPION)
    assert champion is not None
    assert champion.number == third

    rollback(project, "tiny", number=first, through="test")
    assert former_champions(project, registry(project).version(first)) == []
    assert step(project, second)["best"]["version"] == first


def test_champions_of_a_ledger_that_names_no_best_are_all_measured(project: Path, chain: dict[int, int]) -> None:
    first, second, third, fourth = chain.values()
    step(project, second)
    step(project, third)
    written = entries(project)
    for name in (LEDGER, HEAD):
        (project / name).unlink()
    for entry in written:  # as the release before wrote them
        append(project, {key: value for key, value in entry.items() if key not in ("line", "previous", "best")})
    champion = registry(project).version(third)
    assert [end["version"] for end in former_champions(project, champion)] == [second, first]
    promote(project, "tiny", number=fourth, force="known", through="test")
    assert former_champions(project, registry(project).version(fourth)) == []  # a person knew what was given up


def test_best_champion_that_cannot_be_had_is_named_and_left_out(project: Path, chain: dict[int, int]) -> None:
    first, second, third, fourth = chain.values()
    step(project, second)
    step(project, third)
    kept = registry(project).version(first)
    damaged = Path(kept.bundle.removeprefix("file://")) / "note.txt"
    text = damaged.read_text()
    (project / CHAMPIONS / "tiny" / kept.label / "note.txt").write_text("damaged")
    damaged.write_text("damaged")
    try:
        line = step(project, fourth)
    finally:
        damaged.write_text(text)
    assert line["figures"]["not_compared"] == f"version {first} ({kept.digest[:12]})"
    assert line["best"]["version"] == third
