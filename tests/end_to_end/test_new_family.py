"""A new family is its settings, its network, and an entry of each table: nothing else is touched, and it is served.

A classifier goes through DVC as a user's would; a language model runs its stages in one process, which is quicker.
"""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.plumbing.artifacts import read_json, write_json
from components.recipes import load_yaml, stages
from tests.end_to_end.adding import insert_before, insert_entry, touched
from tests.projects import ROOT, make_project, run, write_params
from tests.tiny_documents import tiny_documents

pytestmark = pytest.mark.long  # both families go through every stage
PROTOTYPES = {
    "components/params/families/prototypes.py": '''
        """Settings of a nearest-prototype classifier."""

        from typing import Literal

        from components.params.families.base import FamilySettings
        from components.params.section import Positive


        class PrototypesSettings(FamilySettings):
            family: Literal["prototypes"]
            num_per_label: Positive
            """Prototypes of each label."""
    ''',
    "components/models/prototypes/__init__.py": '''
        """Nearest prototype: a row has the label whose prototypes it lies closest to."""
    ''',
    "components/models/prototypes/network.py": '''
        """A nearest-prototype classifier (Bezdek & Kuncheva 2001); distances become logits.

        Legend: B rows of a batch, N numbers of a row, K labels, P prototypes of a label.
        """

        from math import prod

        import torch
        from torch import Tensor, nn

        from components.models.facts import Facts
        from components.params.families.prototypes import PrototypesSettings


        class Prototypes(nn.Module):
            def __init__(self, *, num_labels: int, num_per_label: int, num_values: int) -> None:
                super().__init__()
                self.prototypes = nn.Parameter(torch.randn(num_labels, num_per_label, num_values))

            def forward(self, values: Tensor) -> Tensor:
                """Logits (B, K) for the rows' numbers (B, N)."""
                apart = values[:, None, None] - self.prototypes  # (B, K, P, N)
                return -apart.square().sum(dim=-1).amin(dim=-1)  # (B, K)


        def build(settings: PrototypesSettings, facts: Facts) -> Prototypes:
            return Prototypes(
                num_labels=facts.num_labels, num_per_label=settings.num_per_label, num_values=prod(facts.shape)
            )
    ''',
}

RECURRENT = {
    "components/params/families/recurrent.py": '''
        """Settings of a recurrent language model."""

        from typing import Literal

        from components.params.families.base import FamilySettings
        from components.params.section import Positive


        class RecurrentSettings(FamilySettings):
            family: Literal["recurrent"]
            hidden_size: Positive
    ''',
    "components/models/recurrent/__init__.py": '''
        """A small language model of gated recurrent units."""
    ''',
    "components/models/recurrent/network.py": '''
        """A language model of gated recurrent units (Cho et al. 2014).

        Legend: B rows of a batch, T tokens, L layers, C width, V tokens of the vocabulary.
        """

        from torch import Tensor, nn

        from components.models.facts import Facts
        from components.params.families.recurrent import RecurrentSettings


        class Recurrent(nn.Module):
            def __init__(self, *, vocab_size: int, hidden_size: int) -> None:
                super().__init__()
                self.embedding = nn.Embedding(vocab_size, hidden_size)
                self.recurrent = nn.GRU(hidden_size, hidden_size, batch_first=True)
                self.head = nn.Linear(hidden_size, vocab_size)

            def forward(self, input_ids: Tensor) -> Tensor:
                """Logits (B, T, V) of the token after each of `input_ids`, (B, T)."""
                return self.step(input_ids, None)[0]

            def step(self, input_ids: Tensor, state: tuple[Tensor] | None) -> tuple[Tensor, tuple[Tensor]]:
                """The logits, and the state to go on from, (L, B, C); None is that before any token."""
                hidden, after = self.recurrent(self.embedding(input_ids), state and state[0])  # (B, T, C)
                return self.head(hidden), (after,)


        def build(settings: RecurrentSettings, facts: Facts) -> Recurrent:
            return Recurrent(vocab_size=facts.vocab_size, hidden_size=settings.hidden_size)
    ''',
}
LOADER = """\
def _{name}() -> Network:
    from components.models.{name}.network import build

    return Network(build)


"""
RUN_STAGES = """
from pathlib import Path

from components.__main__ import run_stage
from components.plumbing.environment import prepare_environment
from components.recipes import stages
from components.tracking.tracker import NullTracker

prepare_environment(Path.cwd())
for stage in stages():
    run_stage(Path.cwd(), "toy", stage, tracker=NullTracker())
"""


def classifying() -> dict[str, Any]:
    """The project's recipe of a generated data set, made small, with the new family."""
    recipe: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]["wide_mlp"]
    recipe["family"] = "prototypes"
    recipe["ingest"]["source"] |= {"num_rows": 600, "num_features": 6, "hidden_size": 4, "num_classes": 3, "noise": 0.0}
    recipe["validate"]["contract"] |= {
        "labels": ["0", "1", "2"], "num_rows": {"min": 600, "max": 600},
        "values": {"length": 6, "min": -10.0, "max": 10.0},
    }  # fmt: skip
    recipe["preprocess"] |= {"shape": [6]}
    recipe["finetune"] |= {
        "model": {"num_per_label": 2}, "epochs": 8, "batch_size": 32, "precision": "fp32"
    }  # fmt: skip
    recipe["finetune"]["optimizer"] |= {"learning_rate": 0.05, "weight_decay": 0.0}
    recipe["evaluate"]["gate"] |= {"min": 0.6, "min_gain": -0.5}
    recipe["compress"] |= {"candidates": [{"method": "fp32"}], "num_latency_rows": 20}
    recipe["compress"]["gate"] = {"max_drop": 0.0, "min_speedup": 0.01, "max_size_ratio": 100.0}
    recipe["package"] |= {"num_golden": 20, "ready_timeout_s": 60}
    return recipe


def writing() -> dict[str, Any]:
    """The project's recipe of a language model, made small, with the new family."""
    recipe: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]["speech_gpt"]
    recipe["family"] = "recurrent"
    recipe["ingest"] |= {
        "source": {"kind": "file", "path": "data/documents.parquet"},
        "format": {"type": "parquet"},
        "query": "SELECT text, document FROM source",
        "watch": "data/documents.parquet",
    }
    recipe["validate"]["contract"] |= {"num_rows": {"min": 10, "max": 1000}, "text_length": {"min": 1, "max": 10000}}
    recipe["preprocess"] |= {
        "context": 16, "tokenizer": recipe["preprocess"]["tokenizer"] | {"vocab_size": 300},
        "split": {"validation": 0.2, "test": 0.2, "seed": 0, "group": None},
    }  # fmt: skip
    recipe["pretrain"] |= {
        "model": {"hidden_size": 32}, "epochs": 4, "steps_per_epoch": 50, "precision": "fp32"
    }  # fmt: skip
    recipe["pretrain"]["optimizer"] |= {"learning_rate": 1e-2}
    recipe["evaluate"]["bootstrap"] |= {"num_samples": 100}
    recipe["evaluate"]["gate"] = {"max_bits_per_byte": 6.0, "min_gain": 0.0, "beat": []}
    recipe["evaluate"]["samples"] |= {"num_samples": 2, "max_tokens": 8, "prompts": ["The"]}
    recipe["compress"] |= {"candidates": [{"method": "fp32"}], "num_latency_rows": 20}
    recipe["compress"]["gate"] = {"max_drop": 0.001, "min_speedup": 0.01, "max_size_ratio": 100.0}
    recipe["package"] |= {"num_golden": 4, "ready_timeout_s": 60}
    recipe["package"]["serving"] |= {"max_prompt_tokens": 15}
    return recipe


def with_family(folder: Path, name: str, files: dict[str, str], recipe: dict[str, Any]) -> Path:
    """A project to which a family and a recipe were added, and nothing else."""
    make_project(folder)
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    settings = f"{name.capitalize()}Settings"
    families, networks = folder / "components/params/families/__init__.py", folder / "components/models/networks.py"
    insert_before(families, "FAMILIES", f"from components.params.families.{name} import {settings}\n\n")
    insert_entry(families, "FAMILIES", f'"{name}": {settings},')
    insert_before(networks, "NETWORKS", LOADER.format(name=name))
    insert_entry(networks, "NETWORKS", f'"{name}": _{name},')
    write_params(folder, {"toy": recipe})
    assert touched(folder) == [
        f"?? components/models/{name}/",
        f"?? components/params/families/{name}.py",
        "M components/models/networks.py",
        "M components/params/families/__init__.py",
        "M params.yaml",
    ]
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_family(tmp_path_factory.mktemp("family") / "project", "prototypes", PROTOTYPES, classifying())
    run(["dvc", "repro"], folder)
    return folder


def report(project: Path, stage: str) -> dict[str, Any]:
    return read_json(project / "artifacts" / "toy" / stage / "report.json")


@pytest.mark.timeout(900)
def test_every_stage_runs(project: Path) -> None:
    made = [path.name for path in (project / "artifacts" / "toy").iterdir() if path.is_dir()]
    assert sorted(made) == sorted(stages())
    family = read_json(project / "artifacts" / "toy" / "finetune" / "model" / "family.json")
    assert (family["family"], family["settings"]["num_per_label"]) == ("prototypes", 2)


def test_it_learns_and_is_judged(project: Path) -> None:
    assert report(project, "finetune")["num_parameters"] == 3 * 2 * 6
    assert report(project, "evaluate")["accuracy"] > 0.6 > report(project, "evaluate")["majority_accuracy"]


def test_the_served_bundle_answered_as_the_measured_model(project: Path) -> None:
    packaged = report(project, "package")
    assert packaged["num_golden"] == 20
    assert (project / "artifacts" / "toy" / "package" / "bundle" / "model.onnx").is_file()


@pytest.mark.timeout(300)
def test_a_language_model_is_served_token_by_token(tmp_path: Path) -> None:
    project = with_family(tmp_path / "project", "recurrent", RECURRENT, writing())
    columns = {"text": tiny_documents(60), "document": [str(number) for number in range(60)]}
    pq.write_table(pa.table(columns), project / "data" / "documents.parquet")
    write_json(project / "dvc.lock", {"stages": {f"{stage}@toy": {} for stage in stages()}})  # DVC drives none of this
    run([sys.executable, "-c", RUN_STAGES], project)
    assert report(project, "pretrain")["family"] == "recurrent"
    assert report(project, "evaluate")["bits_per_byte"] < 6.0
    compressed = report(project, "compress")
    assert compressed["quality"] == pytest.approx(compressed["float_quality"], abs=1e-3)
    assert report(project, "package")["num_golden"] == 4
    golden = read_json(project / "artifacts" / "toy" / "compress" / "results" / "golden.json")
    assert {entry["route"] for entry in golden} == {"/generate"}
    assert any(entry["answer"]["text"] for entry in golden)
