from pathlib import Path

import numpy as np
import pytest
from torch import nn

from components.compress.students.latency import WHOLE, LatencyTable, fitted, measure_latencies, points
from components.export import write_int8
from components.params import Shape
from components.tasks.text_classification.judging.export import export_classifier
from serving.tasks.text_classification.predictor import Predictor
from tests.compress.students.teachers import shape, text_teacher
from tests.tiny import tiny_rows

SECONDS = np.array([2e-4, 5e-5, 3e-5, 4e-4])


def units_per_s(wanted: Shape, *, num_layers: int) -> float:
    """Of a machine that takes exactly SECONDS for each part."""
    layers = wanted.layers or num_layers
    return float(1 / (SECONDS @ [1, layers, layers * wanted.heads, layers * wanted.feed_forward]))


def test_times_of_the_parts_are_found_again() -> None:
    measured = {one: units_per_s(one, num_layers=6) for one in points(6)}
    table = LatencyTable(measured, 6, fitted(measured, 6))
    assert table.seconds == pytest.approx(SECONDS)
    wanted = shape(layers=4, feed_forward=0.7, heads=0.25)
    assert table.units_per_s(wanted) == pytest.approx(units_per_s(wanted, num_layers=6))
    assert table.speedup(WHOLE) == 1
    assert table.speedup(wanted) > 1.4


def test_shapes_of_a_network_whose_layers_stay_are_told_apart_too() -> None:
    measured = {one: units_per_s(one, num_layers=2) for one in points(None)}
    assert all(one.layers is None and one.heads == 1 for one in measured)
    table = LatencyTable(measured, 2, fitted(measured, 2))
    assert table.units_per_s(shape(feed_forward=0.6)) == pytest.approx(
        units_per_s(shape(feed_forward=0.6), num_layers=2)
    )


def test_encoders_are_timed_as_they_are_served(tmp_path) -> None:
    teacher = text_teacher(tmp_path / "teacher")
    made: list[Path] = []

    def make_runner(model: nn.Module) -> Predictor:
        made.append(tmp_path / str(len(made)))
        write_int8({"model.onnx": export_classifier(model)}, predictor=teacher.data.predictor, folder=made[-1])
        return Predictor.load(made[-1], threads=1)

    table = measure_latencies(
        teacher.model, make_runner=make_runner, items=[text for text, _ in tiny_rows(40)], work=work
    )
    assert len(table.measured) == len(made) == len(points(2))
    assert table.num_layers == 2
    assert all(rate > 0 for rate in table.measured.values())
    sizes = [(folder / "model.onnx").stat().st_size for folder in made]
    assert max(sizes) == sizes[0]


def work(runner: Predictor, texts: list[str]) -> int:
    runner.predict(texts)
    return len(texts)
