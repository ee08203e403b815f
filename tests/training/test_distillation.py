from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.models.facts import read_facts
from components.models.storage import load
from components.objectives.distillation import Altering, Pair, prepare
from components.params import AlterTexts
from components.plumbing.errors import InputError
from components.tracking.tracker import NullTracker
from components.training.batches import Rows
from tests.compress.students.teachers import OF_ARRAYS, Teacher, array_teacher, distillation, text_teacher


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return text_teacher(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return array_teacher(tmp_path_factory.mktemp("arrays"))


def objective_of(teacher: Teacher, student: torch.nn.Module | None = None, **changes: Any) -> Any:
    model = Pair(student or load(teacher.model), load(teacher.model), kept=(0, 1))
    return model, prepare(
        distillation(**changes), model=model, facts=read_facts(teacher.data.predictor), data=teacher.data,
        tracker=NullTracker(), device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip


def disturbed(teacher: Teacher) -> torch.nn.Module:
    torch.manual_seed(0)
    student = load(teacher.model)
    for parameter in student.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return student


def test_student_that_is_its_teacher_has_nothing_to_learn(texts: Teacher) -> None:
    model, objective = objective_of(texts)
    model.train()
    assert not model.teacher.training
    assert model.student.training
    (player,) = objective.players
    loss = player.loss_of(model.eval(), next(iter(objective.batches(0, 0))))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


@pytest.mark.parametrize("changes", [{}, {"hidden": 0.0}, {"labels": 0.5, "texts": None}])
def test_parts_of_a_batch_add_up_to_it(texts: Teacher, changes: dict[str, Any]) -> None:
    model, objective = objective_of(texts, disturbed(texts), **changes)
    (player,) = objective.players
    batch = next(iter(objective.batches(0, 0)))
    whole = player.loss_of(model.eval(), batch)
    parts = sum(share * player.loss_of(model, part) for part, share in player.parts(batch, 5))
    torch.testing.assert_close(parts, whole)


def test_rows_without_a_label_are_among_those_that_are_learned(texts: Teacher) -> None:
    _, objective = objective_of(texts)
    assert sum(len(batch.row) for batch in objective.batches(0, 0)) == 240


def test_texts_are_altered_anew_in_each_epoch_and_the_same_in_a_resumed_one(texts: Teacher) -> None:
    _, objective = objective_of(texts)
    first, again, other = ([b.input_ids for b in objective.batches(epoch, 2)] for epoch in (0, 0, 1))
    assert len(first) == 13
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("way", ["mask", "drop", "splice"])
def test_altered_text_keeps_its_marks_and_its_length_at_most(way: str) -> None:
    shares = {"mask": 0.0, "drop": 0.0, "splice": 0.0, "words": 0.3} | {way: 1.0}
    rows = Rows(np.arange(50), [np.array([1, *range(10 * n, 10 * n + 8), 2]) for n in range(1, 51)], np.zeros(50))
    found = Altering(AlterTexts(**shares), mask_id=3, seed=0)(rows, 0)
    assert all(ids[0] == 1 and ids[-1] == 2 and 3 <= len(ids) <= 10 for ids in found.input_ids)
    inner = [(own[1:-1], new[1:-1]) for own, new in zip(rows.input_ids, found.input_ids, strict=True)]
    if way == "mask":
        assert np.mean([(new == 3).mean() for _, new in inner]) == pytest.approx(0.3, abs=0.06)
    if way == "drop":
        assert all(set(new) <= set(own) for own, new in inner)
    if way == "splice":
        assert any(set(new) - set(own) and set(new) & set(own) for own, new in inner)


def test_images_are_moved_where_the_recipe_moves_them(arrays: Teacher) -> None:
    _, moved = objective_of(arrays, **OF_ARRAYS)
    _, still = objective_of(arrays, **OF_ARRAYS | {"images": None})
    first, other = (next(iter(one.batches(0, 0))).values for one in (moved, still))
    assert first.shape == other.shape
    assert not torch.equal(first, other)


def test_tokenizer_without_a_mask_is_refused(texts: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.objectives.distillation.ROLES", {"mask_token": ("<none>",)})
    with pytest.raises(InputError, match=r"texts\.mask puts one of the tokens <none> .* set it to 0"):
        objective_of(texts)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": 0.5}, "labels weighs what altered texts do not have"),
        ({"texts": {"mask": 0.5, "drop": 0.5, "splice": 0.1, "words": 0.2}}, "together they are at most 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        distillation(**changes)
