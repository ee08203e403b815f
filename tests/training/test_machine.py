"""The device of a training, as far as it can be told without a GPU."""

import json
from pathlib import Path

import pytest
import torch

from components.params import TrainFromLabels
from components.plumbing.errors import InputError
from components.training.machine import start
from components.training.precision import choose_precision
from tests.finetune.test_train import PARAMS

CUDA = torch.device("cuda")


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that has no bf16, as far as torch is asked about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.mark.usefixtures("old_card")
def test_bf16_on_a_card_without_it_is_refused(tmp_path: Path) -> None:
    params = TrainFromLabels.model_validate_json(json.dumps({**PARAMS, "precision": "bf16"}))
    with pytest.raises(InputError) as caught:
        start(params, tmp_path, stage="finetune")
    assert str(caught.value) == (
        "finetune.precision is 'bf16', in which Tesla T4 does not compute; set it to 'fp32', or to 'auto', which then "
        "takes that"
    )


@pytest.mark.usefixtures("old_card")
def test_auto_takes_fp32_on_a_card_without_bf16() -> None:
    assert choose_precision("auto", device=CUDA) == ("fp32", 1.0)
