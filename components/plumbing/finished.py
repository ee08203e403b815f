"""The checkpoints of finished trainings, which stay until DVC has their stage's output in its cache.

DVC takes an output into its cache after the stage's process has ended, and empties the output before the stage runs
again. Where a kill or a full disk comes in between, the stage carries on from the last checkpoint and is done at once.
"""

from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from components.plumbing.artifacts import FILES, Layout, md5_of, read_json, write_json
from components.plumbing.damage import all_cached, locked_outs
from components.plumbing.errors import ArtifactError, BusyError
from components.plumbing.locks import hold

FINISHED = "finished.json"
"""The file, among the checkpoints of a training, that says which artifact came of it."""


def note_finished(layout: Layout, fingerprint: str) -> None:
    """Keep the checkpoints of this work, which is done, and remove those of any other of the stage."""
    layout.drop_checkpoints(but=fingerprint)
    folder = layout.checkpoints(fingerprint)
    if folder.is_dir():
        write_json(folder / FINISHED, {"files": md5_of(layout.artifact / FILES)})


def note_unfinished(layout: Layout, fingerprint: str) -> None:
    """Take back that this work is done, since it is under way again."""
    (layout.checkpoints(fingerprint) / FINISHED).unlink(missing_ok=True)


def drop_finished(root: Path, recipe: str) -> None:
    """Remove the checkpoints of those finished trainings of a recipe whose stage's output is in DVC's cache.

    Whoever calls it holds the lock of the recipe's stages.
    """
    for note in finished(root, recipe):
        folder, stage = note.parent, note.parent.parent.name
        outs = dict(locked_outs(root, f"{stage}@{recipe}"))
        with suppress(ArtifactError, AttributeError):
            made = read_json(note).get("files")
            if made is None or outs.get(Layout(root, recipe, stage).artifact / FILES) != made:
                continue
            if all_cached(root, outs.values()):
                rmtree(folder, ignore_errors=True)


def drop_all_finished(root: Path) -> None:
    """Do so for every recipe of which no stage is at work."""
    for recipe in sorted({note.relative_to(root).parts[1] for note in finished(root, "*")}):
        with (
            suppress(BusyError, OSError),  # what is left is removed by the next run
            hold(root, f"{recipe}.stage", doing=f"clearing checkpoints of {recipe}", wait=False, is_brief=True),
        ):
            drop_finished(root, recipe)


def finished(root: Path, recipe: str) -> list[Path]:
    """Return the notes of the finished trainings of a recipe, or of all (`*`)."""
    return sorted(root.glob(f"checkpoints/{recipe}/*/*/{FINISHED}"))
