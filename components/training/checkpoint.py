"""A training's state on disk: safetensors for tensors and JSON for the rest, written whole or not at all.

The folder `last/` holds the model, the optimizers, the random state and the counters of the last checkpoint;
`best.safetensors` holds the weights of the best look so far. A resumed training gives the same weights as one that was
never stopped.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from components.plumbing.artifacts import disk_errors, read_json, replace, replacing, write_json
from components.training.precision import Precision


@dataclass
class Position:
    """The progress of a training."""

    step: int = 0
    """The number of steps done, over all epochs."""
    epoch: int = 0
    """The number of epochs done."""
    looked_at: int = 0
    """The number of steps that were done at the last look at the validation split."""
    loss_sum: dict[str, float] = field(default_factory=dict)
    """The sum of the losses of the steps since then, by player."""
    first_losses: dict[str, list[float]] = field(default_factory=dict)
    """The losses of the training's first steps, by player; later losses are compared with their mean."""
    best_value: float | None = None
    """The metric of early stopping at the best look; None while there is none."""
    best_epoch: int = 0
    """The number of the epoch of the best look, from 1 on; 0 while there is none."""
    best_look: int = 0
    """The number of the best look, from 1 on; 0 while there is none."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The figures of each look, by name; `epoch` is the number of epochs that were done then, which may be broken."""
    precision: Precision | None = None
    """The number format of the steps so far, which a resumed training keeps."""
    num_threads: int | None = None
    """The number of threads of the steps so far, on which the last digits of the weights depend; a resumed training
    keeps it, too."""


@dataclass(frozen=True)
class Manner:
    """The manner in which a training that was stopped ran; None for what is not known."""

    precision: Precision | None = None
    num_threads: int | None = None


def save_checkpoint(
    folder: Path, position: Position, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Replace the last checkpoint in `folder`."""
    partial = folder / ".last.partial"
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_model(model, str(partial / "model.safetensors"))
        save_file(_optimizer_tensors(optimizers), partial / "optimizers.safetensors")
        save_file(random_state(), partial / "random.safetensors")
        write_json(partial / "position.json", asdict(position))
        replace(partial, folder / "last")


def kept_manner(folder: Path) -> Manner:
    """Return the manner in which a training that was stopped ran; an empty one where there is none to carry on."""
    places = (folder / "last" / "position.json", folder / ".last.old" / "position.json")
    left: dict[str, Any] = next((read_json(path) for path in places if path.is_file()), {})
    return Manner(left.get("precision"), left.get("num_threads"))


def load_checkpoint(folder: Path, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Position | None:
    """Restore model, optimizers and random state from the last checkpoint; return its position, None without one."""
    # A kill between the two renames of `replace` leaves the checkpoint before under this name.
    last = next((p for p in (folder / "last", folder / ".last.old") if p.is_dir()), None)
    if last is None:
        return None
    load_model(model, last / "model.safetensors")
    states = [optimizer.state_dict() for optimizer in optimizers]
    for key, value in load_file(last / "optimizers.safetensors").items():
        player, index, name = key.split(".", 2)
        states[int(player)]["state"].setdefault(int(index), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
    random = load_file(last / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])
    left: dict[str, Any] = read_json(last / "position.json")
    left.setdefault("best_look", left["best_epoch"])  # a checkpoint of before has one look an epoch
    return Position(**left)


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint to carry on from."""
    return (folder / "last").is_dir() or (folder / ".last.old").is_dir()


def random_state() -> dict[str, Tensor]:
    """Return the random states of the CPU and, where there is one, the GPU, on which dropout depends."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def save_best(folder: Path, model: nn.Module) -> None:
    """Keep the model's weights as the best so far."""
    with replacing(folder / "best.safetensors") as partial:
        save_model(model, str(partial))


def load_best(folder: Path, model: nn.Module) -> None:
    """Load the best weights back into the model."""
    load_model(model, folder / "best.safetensors")


def _optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimizers' tensors by `<optimizer>.<parameter>.<name>`; their settings come from the recipe again."""
    tensors: dict[str, Tensor] = {}
    for player, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{player}.{index}.{name}"] = value.contiguous()
    return tensors
