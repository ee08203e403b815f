"""A task has all of its parts: one that lacks a part cannot be made, and the type checker says so as well."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.params import SECTIONS
from components.plumbing.errors import ParamsError
from components.tasks import TASKS, task_of
from components.tasks.array_classification import ArrayClassification
from components.tasks.task import Task
from serving.tasks import TASKS as ENDPOINTS
from serving.tasks import endpoint_of
from tests.projects import ROOT, environment

PARTS = sorted(Task.__abstractmethods__)
LACKING = """\
from typing import Any

from components.tasks.array_classification import ArrayClassification
from components.tasks.task import Task


class Lacking(Task):
{parts}


Lacking()
whole: Task = ArrayClassification()
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
    assert endpoint_of(name).ROUTE.startswith("/")


def test_a_task_that_is_not_there_is_refused_with_one_that_is_near() -> None:
    with pytest.raises(ParamsError, match=r"no task 'text_clasification'.*text_classification"):
        task_of("text_clasification")


@pytest.mark.parametrize("part", PARTS)
def test_a_task_that_lacks_a_part_cannot_be_made_and_the_error_names_it(part: str) -> None:
    with pytest.raises(TypeError, match=rf"abstract method '?{part}'?"):
        without(part)()


def test_the_type_checker_names_the_part_that_a_task_lacks(tmp_path: Path) -> None:
    file = tmp_path / "lacking.py"
    parts = "\n\n".join(f"    {name}: Any" for name in PARTS if name != "duel")
    file.write_text(LACKING.format(parts=parts), encoding="utf-8")
    checked = subprocess.run(
        ["basedpyright", str(file)], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    (error,) = [line for line in checked.stdout.splitlines() if "reportAbstractUsage" in line or "abstract" in line][:1]
    assert "Lacking" in error
    assert '"Task.duel" is not implemented' in checked.stdout
    assert "ArrayClassification" not in checked.stdout
