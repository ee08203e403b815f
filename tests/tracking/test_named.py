from pathlib import Path
from typing import Any

import numpy as np

from components.compress.candidates import curves_of
from components.params import Shape
from components.tracking.named import NamedTracker
from components.tracking.tracker import NullTracker, Tracker


class Recorder(NullTracker):
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int]] = []
        self.files: list[str] = []
        self.tags: dict[str, str] = {}

    def log_metrics(self, values: Any, *, step: int) -> None:
        self.points += [(name, step) for name in values]

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self.files.append(f"{folder}/{path.name}")

    def log_picture(self, picture: Any, name: str) -> None:
        self.files.append(name)

    def tag(self, values: Any) -> None:
        self.tags |= values


def test_trainings_of_one_run_do_not_share_a_name() -> None:
    kept = Recorder()
    for layers in (2, 4):
        shape = Shape(layers=layers, feed_forward=0.5, heads=1.0, rank=None)
        one: Tracker = NamedTracker(kept, curves_of(shape))
        one.log_metrics({"train_loss": 0.5}, step=3)
        one.log_file(Path("left_out.json"), folder="left_out")
        one.log_file(Path("report.json"))
        one.log_picture(np.zeros((2, 2), np.uint8), "samples/1.png")
        one.tag({"device": "cpu"})
    assert kept.points == [("student_2_layers_ff_0.5_train_loss", 3), ("student_4_layers_ff_0.5_train_loss", 3)]
    assert kept.files[:3] == [
        "student_2_layers_ff_0.5/left_out/left_out.json",
        "student_2_layers_ff_0.5/report.json",
        "student_2_layers_ff_0.5/samples/1.png",
    ]
    assert not set(kept.files[:3]) & set(kept.files[3:])
    assert kept.tags == {"student_2_layers_ff_0.5_device": "cpu", "student_4_layers_ff_0.5_device": "cpu"}
