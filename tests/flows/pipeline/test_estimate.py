import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.errors import InputError
from flows.pipeline.estimate import BYTES, COUNTS, duration, quantity, size
from tests.projects import ROOT, run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def estimate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["modelyard", "estimate", *words], folder, check=False)


def test_size_without_a_recipe_prints_devices_time_and_every_assumption(project: Path) -> None:
    done = estimate(project, "--params", "7e9")
    assert done.returncode == 0, done.stderr
    assert "does not fit, on any number" in done.stdout
    assert "fully sharded" in done.stdout
    assert done.stdout.count("Assumed: ") == 7
    told = json.loads(estimate(project, "--params", "7B", "--device-memory", "80GiB", "--json").stdout)
    assert told["num_parameters"] == 7e9
    assert told["ways"][1]["num_devices"] == 15
    assert len(told["assumptions"]) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--params", "abc"], "--params is 'abc'; it takes a number above 0, such as 7e9"),
        (["--params", "-1"], "--params is '-1'"),
        (["--params", "7e9", "--device-memory", "80 parsecs"], "--device-memory is '80 parsecs'"),
        (["--params", "7e9", "--tokens", "0"], "--tokens is '0'"),
        (["--params", "1e999"], "--params is '1e999'"),
        (["--params", "7e9", "--days", "nan"], "--days is 'nan'"),
        ([], "name a recipe, or a size with --params"),
        (["wide_mlp", "--params", "7e9"], "and not both"),
        (["wide_mlp", "--days", "3"], "--days is for --params"),
        (["wide_mpl"], "no recipe 'wide_mpl' in params.yaml (did you mean 'wide_mlp'?)"),
    ],
)
def test_fault_is_one_line(project: Path, words: list[Any], said: str) -> None:
    done = estimate(project, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


def test_recipe_prints_parameters_memory_and_time(project: Path) -> None:
    done = estimate(project, "wide_mlp")
    assert done.returncode == 0, done.stderr
    for words in (
        "10,016,010",
        "optimizer state",
        "80.1 MB",
        "worst moment of a step",
        "copies of checkpoints",
        "time in all",
        " rows/s",
    ):
        assert words in done.stdout
    assert sorted(path.name for path in project.iterdir()) == [".modelyard", "dvc.yaml", "params.yaml"]


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("7e9", COUNTS, 7e9),
        ("7B", COUNTS, 7e9),
        ("1.5 m", COUNTS, 1.5e6),
        ("80GiB", BYTES, 80 * 2**30),
        ("80gb", BYTES, 8e10),
        ("1024", BYTES, 1024),
    ],
)
def test_quantities_take_units(text: str, units: Any, value: float) -> None:
    assert quantity(text, "--x", units, "1") == pytest.approx(value)


def test_quantity_of_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InputError, match="--x is '3 dozen'"):
        quantity("3 dozen", "--x", COUNTS, "1")


def test_sizes_and_times_are_shown_as_people_read_them() -> None:
    assert [size(999), size(8e10), size(2.5e15)] == ["999 B", "80 GB", "2,500 TB"]
    assert [duration(0.02), duration(90), duration(600), duration(36_000)] == ["20 ms", "90 s", "10 min", "10 h"]
    assert duration(86_400 * 425) == "425 days"
