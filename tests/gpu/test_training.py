"""Trainings on a GPU: `pytest -m gpu`. Written without one at hand; the script that they share is tried on the CPU."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu import LARGE, SMALL, errors_of, resumes_exactly, speed_of, takes_flash
from benchmarks.gpu_writing import MAX_ERROR
from components.training.batches import ArrayBatch
from components.training.copies import copied_ahead
from components.training.precision import has_bf16

CUDA = torch.device("cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # which ones the libraries of a GPU give is not known here
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine"),
]


@pytest.fixture(autouse=True)
def no_memory_of_others() -> None:
    torch.cuda.empty_cache()


@pytest.mark.parametrize("family", SMALL)
def test_a_step_is_that_of_float64_on_the_cpu(family: str, tmp_path: Path) -> None:
    errors = errors_of(SMALL[family], tmp_path, device=CUDA)
    assert errors["device_fp32"] < MAX_ERROR
    assert errors["device_bf16"] < 0.2


@pytest.mark.parametrize("family", SMALL)
def test_a_training_that_was_stopped_ends_with_the_same_weights(family: str, tmp_path: Path) -> None:
    assert resumes_exactly(SMALL[family], tmp_path)


@pytest.mark.parametrize("family", [name for name, case in LARGE.items() if not case.is_compiled])
def test_memory_is_about_what_was_estimated(family: str, tmp_path: Path) -> None:
    found = speed_of(LARGE[family], tmp_path, device=CUDA, rate=1e15, num_steps=6)
    assert found["peak_bytes"] == pytest.approx(found["estimated_bytes"], rel=0.2, abs=100e6)


@pytest.mark.skipif(not has_bf16(CUDA), reason="the GPU has no bf16, which flash attention needs")
def test_attention_takes_its_flash_form(tmp_path: Path) -> None:
    assert takes_flash(tmp_path, device=CUDA)


def test_batches_that_are_copied_ahead_are_the_same() -> None:
    def batches() -> Iterator[ArrayBatch]:
        for n in range(20):
            yield ArrayBatch(np.arange(n, n + 8), torch.full((8, 1000), float(n)), torch.arange(8) + n)

    seen = 0
    for batch, wanted in zip(copied_ahead(batches(), CUDA), batches(), strict=True):
        assert batch.values.is_cuda
        assert torch.equal(batch.values.cpu(), wanted.values)
        assert torch.equal(batch.label_id.cpu(), wanted.label_id)
        assert np.array_equal(batch.row, wanted.row)
        seen += 1
    assert seen == 20
