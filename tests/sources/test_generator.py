from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.params import GeneratorSource
from components.plumbing.artifacts import sha256_of
from components.sources import fetch, generator

SETTINGS: dict[str, Any] = {
    "kind": "generator", "name": "teacher", "num_rows": 2000, "num_features": 20, "hidden_size": 8, "num_classes": 4,
    "noise": 0.0, "seed": 0,
}  # fmt: skip


def made(folder: Path, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values (N, F) and the labels (N,) that the source gives."""
    fetched = fetch(GeneratorSource.model_validate(SETTINGS | settings), root=folder, folder=folder)
    table = pq.read_table(list(fetched.paths))
    assert table.column_names == ["values", "label"]
    return np.array(table["values"].to_pylist(), np.float32), np.array(table["label"].to_pylist())


def test_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    sources = [GeneratorSource.model_validate(SETTINGS | {"seed": seed}) for seed in (3, 3, 4)]
    digests = [fetch(source, root=tmp_path, folder=tmp_path / str(n)).sha256 for n, source in enumerate(sources)]
    assert digests[0] == digests[1] != digests[2]
    assert sha256_of(tmp_path / "0/rows/000000.parquet") == digests[0]


def test_rows_do_not_depend_on_how_they_are_cut_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(tmp_path / "whole", noise=0.5)
    monkeypatch.setattr(generator, "MAX_CHUNK_BYTES", 8 * 20 * 7)
    cut = made(tmp_path / "cut", noise=0.5)
    assert len(list((tmp_path / "cut" / "rows").iterdir())) == 286
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[1], cut[1])


def test_labels_are_the_teachers(tmp_path: Path) -> None:
    values, labels = made(tmp_path)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert set(labels) == {"0", "1", "2", "3"}
    weights = np.random.Generator(np.random.PCG64(np.random.SeedSequence(0).spawn(4)[0]))
    hidden = np.tanh(values.astype(float) @ (weights.standard_normal((20, 8)) / 20**0.5))
    expected = (hidden @ weights.standard_normal((8, 4))).argmax(axis=1)
    assert list(labels) == [str(label) for label in expected]


def test_noise_is_the_share_of_labels_drawn_at_random(tmp_path: Path) -> None:
    values, labels = made(tmp_path / "clean")
    noisy_values, noisy = made(tmp_path / "noisy", noise=0.4)
    np.testing.assert_array_equal(values, noisy_values)
    # One label in four is drawn as it was.
    assert abs((labels != noisy).mean() - 0.4 * 3 / 4) < 0.04
