"""A new family is a folder and an entry of params.yaml: nothing else is touched, and it is served in the end."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from components.artifacts import read_json
from components.recipes import load_yaml, stages
from tests.projects import ROOT, make_project, run, write_params

FAMILY = {
    "__init__.py": '"""Nearest prototype: a row has the label whose prototypes it lies closest to."""\n',
    "settings.py": '''
        """Settings of a nearest-prototype classifier."""

        from typing import Literal

        from components.params.section import Positive, Section


        class Settings(Section):
            family: Literal["prototypes"]
            num_per_label: Positive
            """Prototypes of each label."""
    ''',
    "network.py": '''
        """A nearest-prototype classifier (Bezdek & Kuncheva 2001); distances become logits.

        Legend: B rows of a batch, N numbers of a row, K labels, P prototypes of a label.
        """

        from math import prod

        import torch
        from torch import Tensor, nn

        from components.models.facts import Facts
        from components.models.prototypes.settings import Settings


        class Prototypes(nn.Module):
            def __init__(self, *, num_labels: int, num_per_label: int, num_values: int) -> None:
                super().__init__()
                self.prototypes = nn.Parameter(torch.randn(num_labels, num_per_label, num_values))

            def forward(self, values: Tensor) -> Tensor:
                """Logits (B, K) for the rows' numbers (B, N)."""
                apart = values[:, None, None] - self.prototypes  # (B, K, P, N)
                return -apart.square().sum(dim=-1).amin(dim=-1)  # (B, K)


        def build(settings: Settings, facts: Facts) -> Prototypes:
            return Prototypes(
                num_labels=facts.num_labels, num_per_label=settings.num_per_label, num_values=prod(facts.shape)
            )
    ''',
}


def recipe() -> dict[str, Any]:
    """The project's recipe of a generated data set, made small, with the new family."""
    recipe: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]["wide_mlp"]
    recipe["ingest"]["source"] |= {"num_rows": 600, "num_features": 6, "hidden_size": 4, "num_classes": 3, "noise": 0.0}
    recipe["validate"]["contract"] |= {
        "labels": ["0", "1", "2"], "num_rows": {"min": 600, "max": 600},
        "values": {"length": 6, "min": -10.0, "max": 10.0},
    }  # fmt: skip
    recipe["preprocess"] |= {"shape": [6]}
    recipe["finetune"] |= {
        "model": {"family": "prototypes", "num_per_label": 2}, "epochs": 8, "batch_size": 32, "precision": "fp32"
    }  # fmt: skip
    recipe["finetune"]["optimizer"] |= {"learning_rate": 0.05, "weight_decay": 0.0}
    recipe["evaluate"]["gate"] |= {"min": 0.6, "min_gain": -0.5}
    recipe["compress"] |= {"candidates": [{"method": "fp32"}], "num_latency_rows": 20}
    recipe["compress"]["gate"] = {"max_drop": 0.0, "min_speedup": 0.01, "max_size_ratio": 100.0}
    recipe["package"] |= {"num_golden": 20, "ready_timeout_s": 60}
    return recipe


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("family") / "project")
    family = folder / "components" / "models" / "prototypes"
    family.mkdir()
    for name, text in FAMILY.items():
        (family / name).write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    write_params(folder, {"toy": recipe()})
    touched = run(["git", "status", "--porcelain"], folder).stdout.split()
    assert touched == ["M", "params.yaml", "??", "components/models/prototypes/"]
    run(["dvc", "repro"], folder)
    return folder


def report(project: Path, stage: str) -> dict[str, Any]:
    return read_json(project / "artifacts" / "toy" / stage / "report.json")


@pytest.mark.timeout(900)
def test_every_stage_runs(project: Path) -> None:
    assert sorted(folder.name for folder in (project / "artifacts" / "toy").iterdir()) == sorted(stages())
    family = read_json(project / "artifacts" / "toy" / "finetune" / "model" / "family.json")
    assert (family["family"], family["settings"]["num_per_label"]) == ("prototypes", 2)


def test_it_learns_and_is_judged(project: Path) -> None:
    assert report(project, "finetune")["num_parameters"] == 3 * 2 * 6
    assert report(project, "evaluate")["accuracy"] > 0.6 > report(project, "evaluate")["majority_accuracy"]


def test_the_served_bundle_answered_as_the_measured_model(project: Path) -> None:
    packaged = report(project, "package")
    assert packaged["num_golden"] == 20
    assert (project / "artifacts" / "toy" / "package" / "bundle" / "model.onnx").is_file()
