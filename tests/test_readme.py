"""The README's tree is the real one."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks import results
from components.plumbing.artifacts import md5_of

ROOT = Path(__file__).parent.parent
LEFT_OUT = {"README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"}  # a reader finds these without a phrase


def listed() -> set[str]:
    """The paths of the README's tree."""
    block = next(b for b in re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "dvc.yaml " in b)
    paths: set[str] = set()
    folder = ""
    for line in block.splitlines():
        name, phrase = re.fullmatch(r"( *\S+)\s\s+(\S.*)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        assert phrase
        if not name.startswith(" "):
            folder = name if name.endswith("/") else ""
            paths.add(name.rstrip("/"))
        else:
            paths.add(folder + name.strip().rstrip("/"))
    return paths


def tracked() -> set[str]:
    """Everything at the top, and one level down in the three layers."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths: set[str] = set()
    for file in files:
        parts = file.split("/")
        if parts[0].startswith(".") or parts[-1] == "__init__.py" or parts[0] in LEFT_OUT:
            continue
        paths.add(parts[0])
        if parts[0] in ("flows", "components", "serving"):
            paths.add("/".join(parts[:2]))
    return paths


def test_tree_is_the_real_tree() -> None:
    assert listed() - {"dvc.lock"} == tracked() - {"dvc.lock"}


def test_commands_of_the_readme_exist() -> None:
    from flows.cli import cli

    named = set(re.findall(r"modelyard ([a-z]+)\b(?! command)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= set(cli.commands)


def test_figures_of_the_readme_are_those_of_the_reports() -> None:
    """Of the recipes whose committed artifacts are here: what `modelyard recipes` and `run` say of them."""
    from components.recipes import load_yaml
    from components.tasks import task_of
    from flows.pipeline.tables import recipe_summary

    locked = {
        out["path"]: out["md5"]
        for stage in YAML(typ="safe").load(ROOT / "dvc.lock")["stages"].values()
        for out in stage["outs"]
    }
    rows = table_of_recipes()
    for name, raw in load_yaml(ROOT / "params.yaml")["recipes"].items():
        assert name in rows, f"the README's table has no row of {name}"
        reports = [f"artifacts/{name}/{stage}/report.json" for stage in ("evaluate", "compress")]
        if not all((ROOT / path).is_file() and md5_of(ROOT / path) == locked.get(path) for path in reports):
            continue  # not what the committed figures are of
        told = recipe_summary(ROOT, name, raw)
        evaluated, compressed = (json.loads((ROOT / path).read_text(encoding="utf-8")) for path in reports[:2])
        model, served = rows[name]["on the test split"], rows[name]["served"]
        assert told["on_test"] in model, f"{name}: the README says '{model}', the report {told['on_test']}"
        shown = {
            row[0]: row for row in task_of(raw["task"]).summary().table(evaluated, raw["evaluate"].get("order"))[1]
        }
        _, figure, interval, _ = next(
            row for key, row in shown.items() if told["on_test"].startswith(key.split(" to ")[0])
        )
        assert figure in told["on_test"], f"{name}: run says {figure}, recipes {told['on_test']}"
        if " to " in interval:
            assert interval.replace(" to ", "\N{EN DASH}") in model, (
                f"{name}: the README says '{model}', run {interval}"
            )
        assert told["served"] in served, f"{name}: the README says '{served}', the report {told['served']}"
        ratio = f"{compressed['size_bytes'] / compressed['float_size_bytes']:.2f} \N{MULTIPLICATION SIGN} bytes"
        assert ratio in served, f"{name}: the README says '{served}', the report {ratio}"


def test_the_readme_says_of_the_training_loop_what_the_benchmarks_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_RESULTS", raising=False)
    found = results.kept()
    paragraphs = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    (said,) = (" ".join(paragraph.split()) for paragraph in paragraphs if "nanoGPT" in paragraph)
    for section, what in (
        ("training, small GPT", "rate beside nanoGPT"),
        ("training, large GPT", "rate beside nanoGPT"),
        ("training, MiniLM", "rate beside Trainer, bf16 grouped"),
    ):
        (row,) = (results.Row(**row) for row in found[section]["rows"] if row["what"] == what)
        assert results.shown(row.value, "x") in said, f"{section}: the README says '{said}'"


def table_of_recipes() -> dict[str, dict[str, str]]:
    """The README's table of recipes: by recipe, the cells by the heads of their columns."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| recipe |"))
    heads = cells(lines[first])
    found: dict[str, dict[str, str]] = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        row = dict(zip(heads, cells(line), strict=True))
        found[row["recipe"].strip("`")] = row
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
