"""A training's state on disk: safetensors for tensors, JSON for the rest, whole or not there.

The folder `last/` holds the model, the optimizer, the random state and the counters of the last checkpoint;
`best.safetensors` the weights of the best epoch so far. Resuming gives the same weights as never having stopped.
"""

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.artifacts import disk_errors, read_json, replace, write_json


@dataclass
class Position:
    """How far a training has come."""

    step: int = 0
    """Steps done in all."""
    epoch: int = 0
    """Epochs done."""
    loss_sum: float = 0.0
    """Of the running epoch's steps."""
    best_value: float | None = None
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch."""


def save_checkpoint(folder: Path, position: Position, *, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Replace the last checkpoint."""
    partial = folder / ".last.partial"
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial / "model.safetensors")
        save_file(_optimizer_tensors(optimizer), partial / "optimizer.safetensors")
        save_file(random_state(), partial / "random.safetensors")
        write_json(partial / "position.json", asdict(position))
        replace(partial, folder / "last")


def load_checkpoint(folder: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position | None:
    """Bring model, optimizer and random state back; None where there is no checkpoint."""
    # A kill between the two renames of `replace` leaves the checkpoint before under this name.
    last = next((p for p in (folder / "last", folder / ".last.old") if p.is_dir()), None)
    if last is None:
        return None
    model.load_state_dict(load_file(last / "model.safetensors"))
    state = optimizer.state_dict()
    for key, value in load_file(last / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(state)
    random = load_file(last / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])
    return Position(**read_json(last / "position.json"))


def random_state() -> dict[str, Tensor]:
    """What the next draws of dropout depend on, of the processor and of the accelerator that is in use."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def save_best(folder: Path, model: nn.Module) -> None:
    """Keep the model's weights as the best so far."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".best.partial"
    with disk_errors(folder):
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial)
        os.replace(partial, folder / "best.safetensors")


def load_best(folder: Path, model: nn.Module) -> None:
    """Bring the best weights back into the model."""
    model.load_state_dict(load_file(folder / "best.safetensors"))


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by `<parameter>.<name>`; its settings come from the recipe again."""
    tensors: dict[str, Tensor] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
    return tensors
