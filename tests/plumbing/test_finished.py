"""The checkpoints of a finished training go once DVC has recorded and cached what came of it, and not before."""

import shutil
from pathlib import Path

from components.plumbing.artifacts import FILES, Layout, md5_of, writing
from components.plumbing.damage import locked_outs, objects_of
from components.plumbing.finished import (
    FINISHED,
    drop_all_finished,
    drop_finished,
    note_finished,
    note_unfinished,
)
from components.plumbing.locks import hold
from flows.pipeline.graph import open_repo
from tests.projects import run

DVC_YAML = """
stages:
  finetune:
    foreach: [tiny]
    do:
      cmd: mkdir -p artifacts/${item}/finetune && cp -r made/. artifacts/${item}/finetune
      deps: [made]
      outs: ["artifacts/${item}/finetune/model/", "artifacts/${item}/finetune/files.json"]
"""


def with_checkpoint(layout: Layout, fingerprint: str) -> Path:
    folder = layout.checkpoints(fingerprint) / "000000001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    return folder


def test_checkpoints_stay_until_the_output_is_recorded_and_cached(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "tiny", "finetune")
    with writing(tmp_path / "made") as folder:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text("1 2 3")
    shutil.copytree(tmp_path / "made", layout.artifact)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    other, kept = with_checkpoint(layout, "other"), with_checkpoint(layout, "this")
    note_finished(layout, "this")
    assert not other.exists()
    drop_all_finished(tmp_path)  # of a folder without DVC
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        run(command, tmp_path)
    drop_all_finished(tmp_path)  # nothing is recorded
    run(["dvc", "repro", "-q"], tmp_path)

    note_unfinished(layout, "this")  # it runs again
    drop_all_finished(tmp_path)
    (layout.artifact / FILES).write_text("{}")  # with another result than was recorded
    note_finished(layout, "this")
    drop_all_finished(tmp_path)
    shutil.copy(tmp_path / "made" / FILES, layout.artifact / FILES)
    note_finished(layout, "this")
    (model,) = (md5 for path, md5 in locked_outs(tmp_path, "finetune@tiny") if path.name == "model")
    *_, weights = objects_of(open_repo(tmp_path).cache.local, model)
    assert md5_of(weights) == weights.parent.name + weights.name
    weights.rename(tmp_path / "aside")  # by 'dvc gc'
    drop_all_finished(tmp_path)
    assert kept.exists()

    (tmp_path / "aside").rename(weights)
    with hold(tmp_path, "tiny.stage", doing="finetune@tiny", wait=False):
        drop_all_finished(tmp_path)
        assert (kept.parent / FINISHED).exists()
        drop_finished(tmp_path, "tiny")  # as its stage does, which holds the lock
    assert not kept.parent.exists()


def test_note_that_cannot_be_read_removes_nothing(tmp_path: Path) -> None:
    kept = with_checkpoint(Layout(tmp_path, "tiny", "finetune"), "this")
    for content in ("", "[]"):
        (kept.parent / FINISHED).write_text(content)
        drop_all_finished(tmp_path)
    assert kept.exists()
