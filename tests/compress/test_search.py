import logging
from typing import Any

import pytest
from pydantic import ValidationError

from components.compress.search import ShapesToTry
from components.params import Shape, Students
from tests.compress.students.teachers import DISTILLATION

WHOLE = {"layers": None, "feed_forward": 1.0, "heads": 1.0, "rank": None}
SEARCH = {"seed": 3, "trials": 6, "layers": [1, 2, 3], "feed_forward": [0.25, 0.5, 1.0]}


def students(**given: Any) -> Students:
    return Students.model_validate({"distillation": DISTILLATION, **given}, strict=False)


def searched(shapes: ShapesToTry, *, size_of: Any = None) -> list[Shape]:
    """Tell of each shape that fewer layers lose more and are smaller."""
    found: list[Shape] = []
    for shape in shapes:
        found.append(shape)
        layers = shape.layers or 4
        shapes.tell(shape, drop=0.05 / layers, size_bytes=int(1000 * layers * shape.feed_forward), took_s=1.0)
    return found


def test_the_recipe_s_shapes_come_first_and_the_search_tries_none_twice() -> None:
    given = students(shapes=[WHOLE | {"layers": 2, "feed_forward": 0.5}], search=SEARCH)
    found = searched(ShapesToTry(given))
    assert found[0] == given.shapes[0]
    assert len(found) == 7
    assert len({shape.name for shape in found}) == 7


def test_the_same_seed_draws_the_same_shapes_and_another_one_others() -> None:
    first, again = (searched(ShapesToTry(students(search=SEARCH))) for _ in range(2))
    assert first == again
    assert searched(ShapesToTry(students(search=SEARCH | {"seed": 4}))) != first


def test_it_ends_where_every_shape_was_tried(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = searched(ShapesToTry(students(search={"seed": 0, "trials": 9, "layers": [1, 2]})))
    assert sorted(shape.layers or 0 for shape in found) == [1, 2]
    assert "the search finds no further shape that is new and may be fast enough" in caplog.messages


def test_a_shape_that_cannot_be_fast_enough_is_not_drawn() -> None:
    found = searched(ShapesToTry(students(search=SEARCH), may_reach=lambda shape: shape.layers != 3))
    assert len(found) == 6
    assert {shape.layers for shape in found} == {1, 2}


def test_no_student_is_begun_that_would_end_after_the_budget_of_time(caplog: pytest.LogCaptureFixture) -> None:
    shapes = ShapesToTry(students(search=SEARCH | {"minutes": 1.0}))
    tried = 0
    with caplog.at_level(logging.INFO):
        for shape in shapes:
            tried += 1
            shapes.tell(shape, drop=0.1, size_bytes=1, took_s=61.0)
    assert tried == 1
    assert "the budget of 1 minutes is used up after 1 students" in caplog.messages


def test_students_without_shapes_and_search_are_refused() -> None:
    with pytest.raises(ValidationError, match="neither shapes nor a search"):
        students()
