"""One word for one thing: the sections, the DAG and the modules say the same."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.artifacts import FILES, METRICS, REPORT, artifact_names
from components.recipes import load_yaml, stages

ROOT = Path(__file__).parent.parent
DAG = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PREFIX = "artifacts/${key}/"

# What a stage imports without its result depending on it, each with its reason.
PLUMBING = {
    "components/__init__.py": "empty",
    "components/artifacts.py": "where files lie; their content is the stage's",
    "components/errors.py": "what is said when there is no result",
    "components/logs.py": "what is said meanwhile",
    "components/pages.py": "what the pages in observations look like",
    "components/headline.py": "what of a result is shown",
    "components/pipeline_run.py": "where observations are kept",
    "components/processes.py": "who is at work",
    "components/progress.py": "what is shown meanwhile",
    "components/registry.py": "where a bundle is kept once it is whole",
    "components/recipes.py": "reads params.yaml, whose sections are dependencies",
    "components/store.py": "where observations are kept",
    "components/system_metrics.py": "what is seen meanwhile",
    "components/tracking.py": "where observations go",
    "serving/__init__.py": "empty",
}
# Whole folders of the same kind: the shape of values that the stage's params dependency holds; what is told and refused
# before a training, without a part in it; and what MLflow wraps around a bundle once it is whole.
PLUMBING_FOLDERS = ("components/params/", "components/estimate/", "components/pyfunc/")


def code_dependencies(stage: str) -> list[str]:
    return [dep for dep in DAG[stage]["do"]["deps"] if not dep.startswith((PREFIX, "${item"))]


def outputs(stage: str) -> list[str]:
    listed: list[str] = []
    for kind in ("outs", "metrics", "plots"):
        listed += [out if isinstance(out, str) else next(iter(out)) for out in DAG[stage]["do"].get(kind, [])]
    return listed


def imported_files(module: str) -> set[str]:
    """The project's files that a module imports, and those that they import, as paths in the project.

    Where a module is chosen by name (`import_module(f"components.evaluate.{task}")`), all of that folder count. The
    settings of families do not: components.params imports them, and the stage's params dependency holds their values.
    """
    seen: set[str] = set()
    todo = [module]
    while todo:
        spec = importlib.util.find_spec(todo.pop())
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin).relative_to(ROOT).as_posix()
        if path in seen or path.startswith(PLUMBING_FOLDERS):
            continue
        seen.add(path)
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.JoinedStr) and path != "components/models/settings.py":
                names = chosen_by_name(node)
            todo += [name for name in names if name.split(".")[0] in ("components", "serving") and is_module(name)]
    return {path for path in seen if not path.endswith("/settings.py")}


def chosen_by_name(text: ast.JoinedStr) -> list[str]:
    """The modules that an f-string such as "components.models.{family}.network" may name."""
    parts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in text.values]
    if not parts[0].startswith(("components.", "serving.")) or not parts[0].endswith("."):
        return []
    pattern = "".join(parts).replace(".", "/")
    found = [path for end in (".py", "/__init__.py") for path in ROOT.glob(pattern + end)]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_sections_stages_and_modules_have_the_same_names():
    assert stages() == list(DAG)
    for name, recipe in load_yaml(ROOT / "params.yaml")["recipes"].items():
        assert [section for section in recipe if section in stages()] == stages(), name
        assert list(recipe)[: 1 + len(stages())] == ["champion", *stages()], name
    for stage in stages():
        assert is_module(f"components.{stage}")


def test_no_second_list_of_stages_exists():
    sources = [path for folder in ("flows", "components", "serving") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                words = [e.value for e in node.elts if isinstance(e, ast.Constant)]
                assert len(set(words) & set(stages())) < 3, f"{path}:{node.lineno} lists stages"


@pytest.mark.parametrize("stage", stages())
def test_command_and_params_are_of_the_stage(stage: str):
    entry = DAG[stage]["do"]
    assert entry["cmd"] == f"python -m components {stage} ${{key}}"
    assert entry["params"] == [f"recipes.${{key}}.{stage}"]
    assert entry["desc"]


@pytest.mark.parametrize("stage", stages())
def test_outs_are_the_outputs_of_the_module(stage: str):
    module = importlib.import_module(f"components.{stage}")
    expected = [*artifact_names(module.Outputs), REPORT, FILES]
    assert sorted(outputs(stage)) == sorted(f"{PREFIX}{stage}/{name}" for name in expected)


def test_dvc_shows_the_few_metrics_and_no_report():
    shown = {stage: DAG[stage]["do"].get("metrics", []) for stage in stages()}
    assert any(shown.values())
    for stage, paths in shown.items():
        assert paths in ([], [f"{PREFIX}{stage}/{METRICS}"])


@pytest.mark.parametrize("stage", stages())
def test_every_out_is_cached_and_none_persists_which_would_switch_the_run_cache_off(stage: str):
    for kind in ("outs", "metrics", "plots"):
        for out in DAG[stage]["do"].get(kind, []):
            settings = next(iter(out.values())) if isinstance(out, dict) else {}
            assert settings.keys() <= {"x", "y"}


def test_what_reads_the_champion_depends_on_its_weights():
    reading = {stage for stage in stages() if "components/champion.py" in DAG[stage]["do"]["deps"]}
    assert reading == {stage for stage in stages() if "${item.champion}" in DAG[stage]["do"]["deps"]}
    assert reading == {"preprocess", "pretrain", "finetune"}


@pytest.mark.parametrize("stage", stages())
def test_artifact_deps_are_the_inputs_of_the_module(stage: str):
    module = importlib.import_module(f"components.{stage}")
    listed = [dep.removeprefix(PREFIX) for dep in DAG[stage]["do"]["deps"] if dep.startswith(PREFIX)]
    assert sorted(listed) == sorted(artifact_names(module.Inputs))


@pytest.mark.parametrize("stage", stages())
def test_code_deps_cover_what_the_module_imports(stage: str):
    listed = code_dependencies(stage)
    assert listed
    for path in imported_files(f"components.{stage}") - PLUMBING.keys():
        covered = any(path == dep or path.startswith(f"{dep}/") for dep in listed)
        assert covered, f"{stage} imports {path}, which dvc.yaml does not list"


@pytest.mark.parametrize("stage", stages())
def test_code_deps_are_all_imported(stage: str):
    imported = imported_files(f"components.{stage}")
    for dep in code_dependencies(stage):
        assert any(path == dep or path.startswith(f"{dep}/") for path in imported), f"{stage} does not use {dep}"
