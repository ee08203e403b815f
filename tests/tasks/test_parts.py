"""A task has all of its parts: one that lacks a part cannot be made, and the type checker says so as well.

The same of its half that imports no torch: the sections of its recipes, and the endpoint of its service.
"""

import inspect
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pytest

from components.finetune import MODES
from components.objectives import OBJECTIVES
from components.params import SECTIONS
from components.params.recipe import LABELS
from components.params.task import TaskData, TaskFigures, TaskServing
from components.plumbing.errors import ParamsError
from components.tasks import TASKS, task_of
from components.tasks.array_classification import ArrayClassification
from components.tasks.task import Task
from serving.endpoint import Endpoint
from serving.tasks import TASKS as ENDPOINTS
from serving.tasks import endpoint_of
from tests.projects import ROOT, environment

PARTS = sorted(Task.__abstractmethods__)
ENDPOINT_PARTS = sorted(name for name in {*vars(Endpoint), *Endpoint.__annotations__} if not name.startswith("_"))
LACKING = """\
from typing import Any

from components.tasks.array_classification import ArrayClassification
from components.tasks.task import Task


class Lacking(Task):
{parts}


Lacking()
whole: Task = ArrayClassification()
"""
LACKING_ENDPOINT = """\
from serving.endpoint import Endpoint
from serving.tasks.array_classification import endpoint


class Lacking:
{parts}


lacking: Endpoint = Lacking()
whole: Endpoint = endpoint
"""


def without(part: str) -> type[Any]:
    """A task that has all parts but one."""
    others: dict[str, Any] = {name: vars(ArrayClassification)[name] for name in PARTS if name != part}
    return type("Lacking", (Task,), others)


def test_what_there_is_by_name_is_the_same_everywhere() -> None:
    assert TASKS.keys() == SECTIONS.keys() == ENDPOINTS.keys()
    assert len(PARTS) == 8


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_the_project_can_be_made_and_is_found_by_its_name(name: str) -> None:
    assert type(task_of(name)).__module__ == f"components.tasks.{name}"
    forms = [ROOT / "serving/tasks" / name / file for file in ("form.html", "form.js")]
    assert [form for form in forms if not form.is_file()] == []


@pytest.mark.parametrize("name", TASKS)
def test_an_endpoint_has_every_part_with_the_parameters_that_are_given_to_it(name: str) -> None:
    endpoint = endpoint_of(name)
    assert len(ENDPOINT_PARTS) == 18
    assert [part for part in ENDPOINT_PARTS if not hasattr(endpoint, part)] == []
    methods = [part for part in ENDPOINT_PARTS if inspect.isfunction(getattr(Endpoint, part, None))]
    assert len(methods) == 14
    for part in methods:
        _, *asked = inspect.signature(getattr(Endpoint, part)).parameters.values()  # without `self`
        given = inspect.signature(getattr(endpoint, part)).parameters.values()
        by_keyword = [{one.name for one in every if one.kind == one.KEYWORD_ONLY} for every in (asked, given)]
        assert (len(given), by_keyword[1]) == (len(asked), by_keyword[0]), part
    assert endpoint.ROUTE.startswith("/")
    assert type(endpoint.IS_STREAMED) is bool
    assert {type(package) for package in endpoint.PACKAGES} <= {str}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_sections_of_a_task_are_its_own_and_name_what_there_is(name: str) -> None:
    own = SECTIONS[name]
    for section, kind in ((own.preprocess, TaskData), (own.evaluate, TaskFigures), (own.serving, TaskServing)):
        assert issubclass(section, kind)
        assert section.model_fields["task"].annotation == Literal[name]  # pyright: ignore[reportInvalidTypeForm]
    limits = {field.name for field in fields(endpoint_of(name).Limits)}  # pyright: ignore[reportArgumentType]
    assert limits == own.serving.model_fields.keys() - {"task"}
    assert {*own.finetuning} <= MODES.keys()
    assert own.finetuning
    assert {*own.objectives} <= {*OBJECTIVES, LABELS}
    assert own.objectives


def test_a_task_that_is_not_there_is_refused_with_one_that_is_near() -> None:
    with pytest.raises(ParamsError, match=r"no task 'text_clasification'.*text_classification"):
        task_of("text_clasification")


@pytest.mark.parametrize("part", PARTS)
def test_a_task_that_lacks_a_part_cannot_be_made_and_the_error_names_it(part: str) -> None:
    with pytest.raises(TypeError, match=rf"abstract method '?{part}'?"):
        without(part)()


def test_the_type_checker_names_the_part_that_a_task_or_an_endpoint_lacks(tmp_path: Path) -> None:
    file = tmp_path / "lacking.py"
    parts = "\n\n".join(f"    {name}: Any" for name in PARTS if name != "duel")
    file.write_text(LACKING.format(parts=parts), encoding="utf-8")
    other = tmp_path / "lacking_endpoint.py"
    given = [name for name in ENDPOINT_PARTS if name != "is_last"]
    as_is = {name: f"endpoint.{name}" for name in given}
    as_is |= {name: f"staticmethod(endpoint.{name})" for name in given if inspect.isfunction(vars(Endpoint).get(name))}
    parts = "\n".join(f"    {name} = {value}" for name, value in as_is.items())
    other.write_text(LACKING_ENDPOINT.format(parts=parts), encoding="utf-8")
    checked = subprocess.run(
        ["basedpyright", str(file), str(other)], cwd=ROOT, env=environment(), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    (error,) = [line for line in checked.stdout.splitlines() if "reportAbstractUsage" in line or "abstract" in line][:1]
    assert "Lacking" in error
    assert '"Task.duel" is not implemented' in checked.stdout
    assert "ArrayClassification" not in checked.stdout
    (refused,) = [line for line in checked.stdout.splitlines() if 'declared type "Endpoint"' in line]
    assert 'error: Type "Lacking" is not assignable' in refused
    assert '"is_last" is not present' in checked.stdout
    assert checked.stdout.count("is not present") == 1
