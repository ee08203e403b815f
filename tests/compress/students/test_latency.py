from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.compress.students.encoder import MIXED, WIDE, layers_of, product_of
from components.compress.students.latency import WHOLE, LatencyTable, fitted, points, time_shapes
from components.export import write_int8
from components.params import Shape
from components.tasks.array_classification.judging.export import export_classifier
from serving.tasks.array_classification.predictor import Predictor, load_settings
from tests.compress.students.teachers import array_teacher, shape, text_teacher

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


def test_perceptrons_are_timed_as_they_are_served(tmp_path: Path) -> None:
    teacher, made = array_teacher(tmp_path / "teacher"), list[Path]()

    def make_runner(model: nn.Module) -> Predictor:
        made.append(tmp_path / str(len(made)))
        graph = export_classifier(model, load_settings(teacher.data.predictor / "predictor.json"))
        write_int8({"model.onnx": graph}, predictor=teacher.data.predictor, folder=made[-1])
        return Predictor.load(made[-1], threads=1)

    rows = [np.full(24, number, np.float32) for number in range(40)]
    table = time_shapes(teacher.model, make_runner=make_runner, items=rows, work=work)
    assert len(table.measured) == len(made) == len(points(None)) == 3
    assert all(rate > 0 for rate in table.measured.values())
    sizes = [(folder / "model.onnx").stat().st_size for folder in made]
    assert sizes == sorted(sizes, reverse=True)


def test_encoders_are_cut_in_each_of_their_parts_to_be_timed(tmp_path: Path) -> None:
    teacher, widths = text_teacher(tmp_path / "teacher"), list[tuple[int, ...]]()

    def make_runner(model: nn.Module) -> nn.Module:
        layers = layers_of(model)
        first = layers[0]
        widths.append((len(layers), product_of(first, WIDE).out_features, product_of(first, MIXED).in_features))
        return model

    def answer(model: nn.Module, ids: list[torch.Tensor]) -> int:
        with torch.inference_mode():
            for one in ids:
                model(one, torch.ones_like(one))
        return len(ids)

    texts = [torch.full((1, 8), number) for number in range(10)]
    table = time_shapes(teacher.model, make_runner=make_runner, items=texts, work=answer)
    assert widths == [(2, 64, 32), (2, 32, 32), (2, 16, 32), (2, 64, 16), (1, 64, 32)]
    assert len(table.measured) == len(widths)
    assert table.num_layers == 2


def work(runner: Predictor, rows: list[np.ndarray]) -> int:
    runner.predict(rows)
    return len(rows)
