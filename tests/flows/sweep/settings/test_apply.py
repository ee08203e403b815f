"""Values in params.yaml: the lines that change, and no other byte."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from components.plumbing.errors import InputError, ParamsError
from components.plumbing.yaml_file import read_yaml
from flows.sweep.settings.apply import apply, scalar
from flows.sweep.settings.space import value_at
from tests.projects import ROOT

RATE, SIZE, EPOCHS = "finetune.optimizer.learning_rate", "finetune.batch_size", "finetune.epochs"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("recipe", ["digits", "movie_sentiment", "wide_mlp", "review_sentiment_zh"])
def test_only_the_lines_of_the_values_change(project: Path, recipe: str, end: str) -> None:
    path = project / "params.yaml"
    path.write_bytes(("# größer 模型\n" + path.read_text(encoding="utf-8")).replace("\n", end).encode())
    before, lines = read_yaml(path), path.read_bytes().split(b"\n")
    settings: dict[str, Any] = {RATE: 1e-05, EPOCHS: 7}
    change = apply(project, recipe, settings)
    after = path.read_bytes().split(b"\n")
    changed = [line.decode() for line, old in zip(after, lines, strict=True) if line != old]
    assert len(changed) == 2
    assert any("learning_rate: 1.0e-05" in line for line in changed)
    assert change.count("\n+") - 1 == change.count("\n-") == 2
    now = read_yaml(path)
    assert {key: value_at(now["recipes"][recipe], key) for key in settings} == settings
    for key, value in settings.items():
        node = now["recipes"][recipe]
        *parents, last = key.split(".")
        for part in parents:
            node = node[part]
        node[last] = value_at(before["recipes"][recipe], key)
        assert node[last] != value
    assert now == before


def test_several_values_of_one_line_and_none(project: Path) -> None:
    settings = {RATE: 0.25, "finetune.optimizer.weight_decay": 0.5, "finetune.optimizer.name": "adam"}
    settings["finetune.optimizer.name"] = "adamw"
    apply(project, "digits", settings)
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "optimizer: {name: adamw, learning_rate: 0.25, weight_decay: 0.5, betas: [0.9, 0.999]}" in text
    assert apply(project, "digits", settings) == ""
    assert apply(project, "digits", {}) == ""
    assert (project / "params.yaml").read_text(encoding="utf-8") == text


def test_entry_of_a_list_is_written_in_its_place(project: Path) -> None:
    apply(project, "digits", {"finetune.model.hidden_sizes.1": 128})
    assert "hidden_sizes: [64, 128]," in (project / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({SIZE: 0}, ParamsError, "it must be a number of rows"),
        ({"finetune.nothing": 1}, ParamsError, "has no such key"),
        ({"finetune.model.hidden_sizes": 1}, InputError, "holds several values"),
        ({"finetune.optimizer": 1}, InputError, "holds several values"),
        ({"package.serving.max_arrays": 64}, InputError, "shares"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_alone(
    project: Path, settings: dict[str, Any], error: type[Exception], told: str
) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(error, match=told):
        apply(project, "digits", settings)
    assert (project / "params.yaml").read_bytes() == before
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


@example("N")
@example("no")
@example("null")
@example("")
@example("1e-05")
@example(1e-05)
@given(st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.text(max_size=30),
                 st.floats(allow_nan=False, allow_infinity=False)))  # fmt: skip
def test_scalar_is_read_as_what_it_was(value: Any) -> None:
    if isinstance(value, str) and not value.isprintable():
        return
    text = scalar(value)
    for version in ("1.1", "1.2"):
        yaml = YAML(typ="safe", pure=True)
        yaml.version = version
        for shown in (f"a: {text}\n", f"{{a: {text}, b: 1}}\n"):
            read = yaml.load(shown)["a"]
            assert type(read) is type(value)
            assert read == value or (isinstance(value, float) and math.isclose(read, value))
