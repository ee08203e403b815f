"""One word for one thing: the sections, the DAG and the modules say the same."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.finetune import MODES as FINETUNE_MODES
from components.models.networks import NETWORKS
from components.objectives import OBJECTIVES
from components.params.recipe import LABELS, TOP
from components.plumbing.artifacts import FILES, METRICS, REPORT, artifact_names
from components.pretrain import MODES as PRETRAIN_MODES
from components.recipes import load_recipe, load_yaml, stages
from components.stages import STAGES
from components.tasks import TASKS

ROOT = Path(__file__).parent.parent
DAG = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PREFIX = "artifacts/${key}/"

# What a stage imports without its result depending on it, each with its reason.
PLUMBING = {
    "components/__init__.py": "empty",
    "components/plumbing/artifacts.py": "where files lie; their content is the stage's",
    "components/plumbing/lock_file.py": "how dvc.lock is read, which names what the stages read anyway",
    "components/plumbing/errors.py": "what is said when there is no result",
    "components/plumbing/memory.py": "what is free, which decides when a checkpoint is written",
    "components/plumbing/logs.py": "what is said meanwhile",
    "components/plumbing/pages.py": "what pages look like; evaluate, whose page is an output, depends on it",
    "components/tracking/headline.py": "what of a result is shown",
    "components/tracking/named.py": "where observations go",
    "components/tracking/pipeline_run.py": "where observations are kept",
    "components/tracking/place.py": "where observations are kept",
    "components/plumbing/processes.py": "who is at work",
    "components/plumbing/progress.py": "what is shown meanwhile",
    "components/plumbing/yaml_file.py": "how params.yaml is read; what it says is a dependency",
    "components/tracking/registry.py": "where a bundle is kept once it is whole",
    "components/recipes.py": "reads params.yaml, whose sections are dependencies",
    "components/tracking/store.py": "where observations are kept",
    "components/tracking/system_metrics.py": "what is seen meanwhile",
    "components/tasks/task.py": "which parts a task has",
    "components/tracking/stage_run.py": "where observations are kept",
    "components/tracking/tensorboard.py": "where observations are kept",
    "components/tracking/tracker.py": "where observations go",
    "components/finetune/__init__.py": "names what the stage has",
    "components/finetune/modes.py": "picks the mode",
    "components/models/networks.py": "picks the network",
    "components/modes.py": "says what a mode has",
    "components/pretrain/__init__.py": "names what the stage has",
    "components/pretrain/modes.py": "picks the mode",
    "components/objectives/__init__.py": "picks the objective",
    "serving/__init__.py": "empty",
    "serving/bundle.py": "how a bundle is named, which package alone makes",
}
BROUGHT = ("preprocess", "pretrain", "finetune")
"""The stages whose parameters name the bytes that components/sources brings by their hash: the code that brings them
changes nothing that they make."""
# Whole folders of the same kind: the shape of values that the stage's params dependency holds; what is told and refused
# before a training, without a part in it; and what MLflow wraps around a bundle once it is whole.
PLUMBING_FOLDERS = ("components/params/", "components/estimate/", "components/tracking/pyfunc/")


RECIPES: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]
LEARNED = {"finetune": LABELS, "compress": "distillation"}
"""What a stage learns whatever the recipe's objective is, which is pretrain's."""
BY_NAME = {*TASKS, *NETWORKS, *OBJECTIVES, *PRETRAIN_MODES, *FINETUNE_MODES}
"""What is loaded by its name, each by a function `_<name>` that imports it."""


def code_dependencies(stage: str, recipe: str) -> list[str]:
    """The code that dvc.yaml lists for a stage of a recipe."""
    given = RECIPES[recipe]

    def of_recipe(found: re.Match[str]) -> str:
        value: Any = given
        for key in found[1].split("."):
            value = value[key]
        return str(value)

    written = [dep for dep in DAG[stage]["do"]["deps"] if dep not in ("${item.champion}", "${item.ingest.watch}")]
    return [re.sub(r"\$\{item\.([\w.]+)\}", of_recipe, dep) for dep in written if not dep.startswith(PREFIX)]


def outputs(stage: str) -> list[str]:
    listed: list[str] = []
    for kind in ("outs", "metrics", "plots"):
        listed += [out if isinstance(out, str) else next(iter(out)) for out in DAG[stage]["do"].get(kind, [])]
    return listed


def imported_files(stage: str, recipe: str) -> set[str]:
    """The project's files that a stage imports for a recipe, and those that they import, as paths in the project.

    Of what is loaded by its name, only the recipe's own counts; of its task, only the part that is the stage's.
    """
    given = RECIPES[recipe]
    names = {given["task"], given["family"], given[stage].get("mode", "")}
    names |= {LEARNED.get(stage, given["objective"])}
    seen: set[str] = set()
    todo = [f"components.{stage}", f"components.tasks.{given['task']}"]
    todo += ["serving.entry"] if stage == "package" else []  # which goes into the bundle, with what it imports
    while todo:
        spec = importlib.util.find_spec(todo.pop())
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin).relative_to(ROOT).as_posix()
        if path in seen or path.startswith(PLUMBING_FOLDERS):
            continue
        seen.add(path)
        for node in executed(ast.parse((ROOT / path).read_text(encoding="utf-8")), names, stage=stage):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            todo += [name for name in found if name.split(".")[0] in ("components", "serving") and is_module(name)]
    return seen


def executed(node: ast.AST, names: set[str], *, stage: str) -> Iterator[ast.AST]:
    """What runs of a module for a recipe: no hints of types, no loader of another name, no other part of a task."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.FunctionDef) and child.name[1:] in BY_NAME - names and child.name.startswith("_"):
            continue
        is_task = isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Task" for base in node.bases)
        if is_task and isinstance(child, ast.FunctionDef) and child.name not in (stage, "drop"):
            continue
        yield child
        yield from executed(child, names, stage=stage)


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_sections_stages_and_modules_have_the_same_names() -> None:
    assert stages() == list(DAG)
    for name, recipe in load_yaml(ROOT / "params.yaml")["recipes"].items():
        assert [section for section in recipe if section in stages()] == stages(), name
        assert list(recipe)[: 1 + len(TOP) + len(stages())] == ["champion", *TOP, *stages()], name
    assert list(STAGES) == stages()


def test_no_second_list_of_stages_exists() -> None:
    sources = [path for folder in ("flows", "components", "serving") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                words = [e.value for e in node.elts if isinstance(e, ast.Constant)]
                assert len(set(words) & set(stages())) < 3, f"{path}:{node.lineno} lists stages"


@pytest.mark.parametrize("stage", stages())
def test_command_and_params_are_of_the_stage(stage: str) -> None:
    entry = DAG[stage]["do"]
    assert entry["cmd"] == f"python -m components {stage}"  # a shell reads it: no name of a recipe is in it
    *top, section = entry["params"]
    assert section == f"recipes.${{key}}.{stage}"
    assert {one.removeprefix("recipes.${key}.") for one in top} <= TOP.keys()
    assert entry["desc"]


@pytest.mark.parametrize("stage", stages())
def test_outs_are_the_outputs_of_the_module(stage: str) -> None:
    module = STAGES[stage](load_recipe(ROOT, "digits"))
    expected = [*artifact_names(module.Outputs), REPORT, FILES]
    assert sorted(outputs(stage)) == sorted(f"{PREFIX}{stage}/{name}" for name in expected)


def test_dvc_shows_the_few_metrics_and_no_report() -> None:
    shown = {stage: DAG[stage]["do"].get("metrics", []) for stage in stages()}
    assert any(shown.values())
    for stage, paths in shown.items():
        assert paths in ([], [f"{PREFIX}{stage}/{METRICS}"])


@pytest.mark.parametrize("stage", stages())
def test_every_out_is_cached_and_none_persists_which_would_switch_the_run_cache_off(stage: str) -> None:
    for kind in ("outs", "metrics", "plots"):
        for out in DAG[stage]["do"].get(kind, []):
            settings = next(iter(out.values())) if isinstance(out, dict) else {}
            assert settings.keys() <= {"x", "y"}


def test_what_reads_the_champion_depends_on_its_weights() -> None:
    reading = {stage for stage in stages() if "components/champion.py" in DAG[stage]["do"]["deps"]}
    assert reading == {stage for stage in stages() if "${item.champion}" in DAG[stage]["do"]["deps"]}
    assert reading == {"preprocess", "pretrain", "finetune"}


@pytest.mark.parametrize("stage", stages())
def test_artifact_deps_are_the_inputs_of_the_module(stage: str) -> None:
    module = STAGES[stage](load_recipe(ROOT, "digits"))
    listed = [dep.removeprefix(PREFIX) for dep in DAG[stage]["do"]["deps"] if dep.startswith(PREFIX)]
    assert sorted(listed) == sorted(artifact_names(module.Inputs))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stage", stages())
def test_code_deps_cover_what_a_stage_of_a_recipe_imports(stage: str, recipe: str) -> None:
    listed = code_dependencies(stage, recipe)
    assert listed
    for path in imported_files(stage, recipe) - PLUMBING.keys():
        covered = any(path == dep or path.startswith(f"{dep}/") for dep in listed)
        covered |= path.startswith("components/sources/") and stage in BROUGHT
        covered |= path == f"components/tasks/{RECIPES[recipe]['task']}/__init__.py"
        assert covered, f"{stage} of {recipe} imports {path}, which dvc.yaml does not list"


def test_the_look_of_pages_is_a_dependency_of_the_stage_whose_page_is_an_output() -> None:
    assert "components/plumbing/pages.py" in DAG["evaluate"]["do"]["deps"]


@pytest.mark.parametrize("stage", stages())
def test_code_deps_are_all_imported(stage: str) -> None:
    for recipe in RECIPES:
        for dep in code_dependencies(stage, recipe):
            assert (ROOT / dep).exists(), f"{stage} of {recipe} depends on {dep}, which is not there"
    imported = {recipe: imported_files(stage, recipe) for recipe in RECIPES}
    for number, dep in enumerate(code_dependencies(stage, next(iter(RECIPES)))):
        used = any(
            path == mine or path.startswith(f"{mine}/")
            for recipe in RECIPES
            for mine in [code_dependencies(stage, recipe)[number]]
            for path in imported[recipe]
        )
        assert used, f"no recipe's {stage} uses {dep}"
