from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from components.compress.students import make_student
from components.compress.students.making import FINISHED, key_of
from components.models.facts import read_facts
from components.models.storage import FAMILY, load, tensors_of
from components.objectives.classification import of_arrays, of_texts
from components.objectives.distillation import inputs_of
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import InputError
from components.tasks.text_classification.judging.export import export_classifier
from components.tracking.tracker import NullTracker
from components.training.loop import Course
from tests.compress.students.teachers import (
    OF_ARRAYS,
    Teacher,
    array_teacher,
    distillation,
    shape,
    text_teacher,
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return text_teacher(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return array_teacher(tmp_path_factory.mktemp("arrays"))


SMALL = {"layers": 1, "feed_forward": 0.5, "heads": 0.5}


@pytest.fixture(scope="module")
def small(texts: Teacher, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    folder = tmp_path_factory.mktemp("small")
    return student(texts, folder, shape(**SMALL), epochs=3), folder


def student(teacher: Teacher, folder: Path, wanted: Any, **changes: Any) -> nn.Module:
    return make_student(
        wanted, distillation(**changes), teacher=teacher.model, data=teacher.data, checkpoints=folder,
        tracker=NullTracker(),
    )  # fmt: skip


def logits(model: nn.Module, teacher: Teacher) -> torch.Tensor:
    """Of the validation split."""
    facts, params = read_facts(teacher.data.predictor), distillation()
    data = replace(teacher.data, unlabelled=None)
    task = of_arrays(params, facts, data, augment=None) if facts.shape else of_texts(params, facts, data)
    with torch.no_grad():
        return torch.cat([model(*inputs_of(batch)) for batch in task.measured()])


def distance(model: nn.Module, teacher: Teacher) -> float:
    difference = logits(model, teacher).softmax(-1) - logits(load(teacher.model), teacher).softmax(-1)
    return float(difference.abs().mean())


def num_weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = tensors_of(one), tensors_of(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.long
def test_student_is_smaller_on_disk_and_exports_as_its_teacher_does(
    texts: Teacher, small: tuple[nn.Module, Path]
) -> None:
    model, _ = small
    whole = load(texts.model)
    assert num_weights(model) < num_weights(whole)
    assert not model.training
    graph = export_classifier(model)
    assert len(graph.SerializeToString()) < len(export_classifier(whole).SerializeToString())
    assert [one.name for one in graph.graph.input] == ["input_ids", "attention_mask"]


def test_student_answers_nearly_as_its_teacher(texts: Teacher, small: tuple[nn.Module, Path], tmp_path: Path) -> None:
    model, _ = small
    hardly = student(texts, tmp_path, shape(**SMALL), epochs=1, steps_per_epoch=1)
    assert distance(model, texts) < distance(hardly, texts) / 2


def test_frozen_embeddings_are_the_teachers(texts: Teacher, small: tuple[nn.Module, Path]) -> None:
    model, _ = small
    own, wanted = tensors_of(model.hosted), tensors_of(load(texts.model).hosted)
    names = [name for name in own if "embeddings" in name]
    assert names
    assert all(torch.equal(own[name], wanted[name]) for name in names)


def test_finished_student_is_loaded_and_not_trained_again(
    texts: Teacher, small: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = small
    monkeypatch.setattr("components.compress.students.making.fit", None)
    assert same(student(texts, folder, shape(**SMALL), epochs=3), model)


def test_student_whose_file_is_damaged_is_trained_again(
    texts: Teacher, small: tuple[nn.Module, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = student(texts, tmp_path, shape(layers=1), epochs=1, steps_per_epoch=2)
    (place,) = tmp_path.iterdir()
    (place / "model.safetensors").write_bytes(b"broken")
    assert same(student(texts, tmp_path, shape(layers=1), epochs=1, steps_per_epoch=2), first)
    assert "is trained again" in caplog.text


def test_stopped_student_carries_on_to_the_same_weights(
    texts: Teacher, small: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = small
    look = Course.look

    def stop(course: Course) -> None:
        look(course)
        course.saver.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(Course, "look", stop)
    with pytest.raises(KeyboardInterrupt):
        student(texts, tmp_path, shape(**SMALL), epochs=3)
    monkeypatch.setattr(Course, "look", look)
    (place,) = tmp_path.iterdir()
    assert not (place / FINISHED).exists()
    assert same(student(texts, tmp_path, shape(**SMALL), epochs=3), model)
    assert not (place / "training").exists()


def test_student_of_arrays_learns_from_moved_images(arrays: Teacher, tmp_path: Path) -> None:
    model = student(arrays, tmp_path, shape(feed_forward=0.5), **OF_ARRAYS, epochs=4)
    hardly = student(arrays, tmp_path, shape(feed_forward=0.5), **OF_ARRAYS, epochs=1, steps_per_epoch=1)
    assert num_weights(model) < num_weights(load(arrays.model))
    assert distance(model, arrays) < distance(hardly, arrays)
    assert same(student(arrays, tmp_path, shape(feed_forward=0.5), **OF_ARRAYS, epochs=4), model)


def test_another_shape_setting_teacher_or_row_is_another_student(texts: Teacher, arrays: Teacher) -> None:
    usual: dict[str, Any] = {"distillation": distillation(), "teacher": texts.model, "data": texts.data}

    def key(wanted: Any = None, **changes: Any) -> str:
        return key_of(wanted or shape(), **usual | changes)

    keys = [
        key(), key(shape(layers=1)), key(distillation=distillation(seed=1)), key(teacher=arrays.model),
        key(data=replace(texts.data, unlabelled=None)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key() == key(distillation=distillation(checkpoints={"keep": 2}))


@pytest.mark.parametrize(
    ("which", "wanted", "changes", "match"),
    [
        ("texts", {"layers": 3}, {}, r"a shape has 3 layers, and the fine-tuned encoder 2"),
        ("texts", {}, {"images": {"shift": 1, "rotate": 0.0}}, r"images moves images, and the rows here are none"),
        ("texts", {}, {"freeze": ["embedings"]}, r"distillation\.freeze: no parameter .*did you mean 'embeddings'"),
        ("arrays", {"layers": 1}, OF_ARRAYS, r"a perceptron keeps all of its layers"),
        ("arrays", {"heads": 0.5}, OF_ARRAYS, r"has no heads"),
        ("arrays", {}, OF_ARRAYS | {"hidden": 1.0}, r"hidden compares the states of an encoder's layers"),
        ("arrays", {}, OF_ARRAYS | {"freeze": ["head"]}, r"freeze is for parts of an encoder"),
        ("arrays", {}, OF_ARRAYS | {"dropout": 0.1}, r"drops nothing out anywhere"),
        ("arrays", {}, {"hidden": 0.0, "freeze": []}, r"texts alters texts"),
    ],
)
def test_setting_without_an_effect_is_refused_in_one_line(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    which: str,
    wanted: dict[str, Any],
    changes: dict[str, Any],
    match: str,
) -> None:
    with pytest.raises(InputError, match=match) as caught:
        student(request.getfixturevalue(which), tmp_path, shape(**wanted), **changes)
    assert "\n" not in str(caught.value)


def test_family_without_students_is_refused(texts: Teacher, tmp_path: Path) -> None:
    write_json(tmp_path / FAMILY, read_json(texts.model / FAMILY) | {"family": "gpt"})
    with pytest.raises(InputError, match=r"for the families encoder, mlp, and .* 'gpt'; leave out"):
        student(replace(texts, model=tmp_path), tmp_path / "made", shape())
