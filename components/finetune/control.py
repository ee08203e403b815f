"""The control: the same model trained on the labels alone, so that evaluate can tell what pretraining gained."""

from pathlib import Path

from components.plumbing.artifacts import write_json

CONTROL = "control.json"


def write_no_control(folder: Path) -> None:
    """Write a note that there is no control into `folder`, which is made."""
    folder.mkdir(parents=True)
    write_json(folder / CONTROL, {"trained": False})
