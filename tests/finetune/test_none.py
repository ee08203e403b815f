import errno
import os
from pathlib import Path
from typing import Any, Never

import pytest

from components.finetune.none import run
from components.models import storage
from components.models.facts import Facts
from components.params import NoFinetuning
from components.params.families.mlp import MlpSettings
from components.plumbing.artifacts import read_json, sha256_of
from components.tracking.tracker import NullTracker
from tests.finetune.rows import array_inputs, outputs_in

MLP = MlpSettings(family="mlp", hidden_sizes=(3,), activation="relu", batch_norm=False, dropout=0.0)


@pytest.fixture
def inputs(tmp_path: Path) -> Any:
    inputs = array_inputs(tmp_path / "rows")
    facts = Facts(num_labels=2, shape=(6, 4))
    storage.save(storage.build(MLP, facts), inputs.pretrained, family="mlp", settings=MLP, facts=facts)
    (inputs.pretrained / "more").mkdir()
    (inputs.pretrained / "more" / "notes.txt").write_text("kept")
    return inputs


def files(folder: Path) -> Any:
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in folder.rglob("*") if p.is_file()}


def test_pretrained_model_is_passed_on_without_a_copy(inputs: Any, tmp_path: Path) -> None:
    outputs = outputs_in(tmp_path / "out")
    report = run(NoFinetuning(mode="none"), inputs, outputs, tracker=NullTracker())
    assert files(outputs.model) == files(inputs.pretrained)
    weights = "model.safetensors"
    assert (outputs.model / weights).stat().st_ino == (inputs.pretrained / weights).stat().st_ino
    assert (report.family, report.num_parameters) == ("mlp", 24 * 3 + 3 + 3 * 2 + 2)
    assert read_json(outputs.control / "control.json") == {"trained": False}
    assert outputs.history.read_text() == "epoch,train_loss\n"


def test_model_is_copied_where_links_do_not_reach(inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def across_devices(source: object, target: object) -> Never:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across_devices)
    outputs = outputs_in(tmp_path / "out")
    run(NoFinetuning(mode="none"), inputs, outputs, tracker=NullTracker())
    assert files(outputs.model) == files(inputs.pretrained)
    assert (outputs.model / "model.safetensors").stat().st_nlink == 1


def test_symbolic_link_is_passed_on_as_the_file_that_it_names(inputs: Any, tmp_path: Path) -> None:
    weights, cached = inputs.pretrained / "model.safetensors", tmp_path / "cached"
    weights.rename(cached)
    weights.symlink_to(cached)
    outputs = outputs_in(tmp_path / "out")
    run(NoFinetuning(mode="none"), inputs, outputs, tracker=NullTracker())
    assert not (outputs.model / "model.safetensors").is_symlink()
    assert sha256_of(outputs.model / "model.safetensors") == sha256_of(cached)
