"""The comparison on the test split: paired, over the same rows, in the direction of the metric."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.params import Bootstrap
from components.plumbing.errors import ArtifactError
from flows.sweep.judging.verdict import compare, in_words

BOOTSTRAP = Bootstrap(num_samples=500, seed=0, confidence=0.95)
ROWS = 400


def folder_of(tmp_path: Path, name: str, table: dict[str, Any], *, file: str = "predictions.parquet") -> Path:
    (tmp_path / name).mkdir()
    pq.write_table(pa.table(table), tmp_path / name / file)
    return tmp_path / name


def predictions(share_right: float, *, seed: int, rows: int = ROWS) -> dict[str, Any]:
    label = np.arange(rows) % 2
    right = np.random.default_rng(seed).random(rows) < share_right
    return {"row": np.arange(rows), "label_id": label, "predicted_id": np.where(right, label, 1 - label)}


def test_better_classifier_gains_as_counted_by_hand(tmp_path: Path) -> None:
    worse, better = predictions(0.6, seed=0), predictions(0.9, seed=1)
    found = compare(
        folder_of(tmp_path, "a", worse), folder_of(tmp_path, "b", better), metric="accuracy", bootstrap=BOOTSTRAP
    )
    right = [np.mean(one["label_id"] == one["predicted_id"]) for one in (worse, better)]
    assert (found["present"], found["winner"]) == pytest.approx(right)
    assert found["gain"] == pytest.approx(right[1] - right[0])
    apart = (better["label_id"] == better["predicted_id"]).astype(float)
    apart -= worse["label_id"] == worse["predicted_id"]
    width = 1.96 * apart.std() / ROWS**0.5
    assert found["gain_low"] == pytest.approx(found["gain"] - width, abs=0.02)
    assert found["gain_high"] == pytest.approx(found["gain"] + width, abs=0.02)
    assert found["is_surely_better"]
    said = in_words(found, num_trials=9, objective="validation_accuracy", validation=(0.6, 0.95), minimizes=False)
    assert "surely better" in said
    assert "led by 0.3500" in said


def test_same_answers_gain_nothing(tmp_path: Path) -> None:
    same = predictions(0.8, seed=0)
    found = compare(folder_of(tmp_path, "a", same), folder_of(tmp_path, "b", same), metric="mcc", bootstrap=BOOTSTRAP)
    assert (found["gain"], found["gain_low"], found["gain_high"]) == (0, 0, 0)
    assert not found["is_surely_better"]
    assert "not surely better" in in_words(
        found, num_trials=3, objective="validation_loss", validation=(1.0, 1.0), minimizes=True
    )


def test_lower_bits_per_byte_are_a_gain(tmp_path: Path) -> None:
    size = np.random.default_rng(0).integers(50, 5000, 60)
    both = [{"row": np.arange(60), "num_bytes": size, "bits_per_byte": np.full(60, bits)} for bits in (2.0, 1.5)]
    folders = [folder_of(tmp_path, name, one, file="documents.parquet") for name, one in zip("ab", both, strict=True)]
    found = compare(*folders, metric="", bootstrap=BOOTSTRAP)
    assert found["metric"] == "bits_per_byte"
    assert found["gain"] == pytest.approx(0.5)
    assert found["is_surely_better"]


def test_other_rows_are_refused_and_no_rows_are_no_comparison(tmp_path: Path) -> None:
    one = folder_of(tmp_path, "a", predictions(0.8, seed=0))
    for name, rows in (("b", ROWS - 2), ("c", ROWS)):
        other = predictions(0.8, seed=0, rows=rows)
        other["row"] = other["row"] + 1
        with pytest.raises(ArtifactError, match="not of the same rows"):
            compare(one, folder_of(tmp_path, name, other), metric="accuracy", bootstrap=BOOTSTRAP)
    (tmp_path / "d").mkdir()
    assert compare(one, tmp_path / "d", metric="accuracy", bootstrap=BOOTSTRAP) == {}
