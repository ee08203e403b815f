"""A training's state on disk: safetensors for tensors and JSON for the rest, whole or not at all.

A training has a folder of checkpoints, each a folder of its own, named by how far it came
(`000000120-00003-000`: 120 steps, 3 looks, no batch left out):

    model.safetensors     the weights
    training.safetensors  the optimizers' tensors and the random states
    position.json         the counters and figures
    checkpoint.json       the format's number, and the sha256 of each of the others

It is written beside them and renamed into place, so that it is whole or absent; one whose bytes are not those of its
sha256 is never read. A training that carries on from one gives the same weights, bit for bit, as one that was never
stopped.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.plumbing.artifacts import (
    disk_errors,
    disk_full,
    fault_of_recorded,
    is_of_full_disk,
    read_json,
    sha256_of,
    sync,
    write_json,
)
from components.plumbing.errors import ArtifactError, InputError
from components.training.precision import Precision
from components.training.ranks import ALONE, Ranks, random_state

logger = logging.getLogger(__name__)

FORMAT = 3
"""The number of this form of a checkpoint. It grows where an earlier Modelyard would read one wrongly."""
MODEL, TRAINING, POSITION, CARD = "model.safetensors", "training.safetensors", "position.json", "checkpoint.json"
RANDOM = "random."
PARTIAL = ".partial"
"""The folder in which a checkpoint is written before it takes its place."""
Tensors = dict[str, dict[str, Tensor]]
"""The tensors of a checkpoint by file, and by name in it."""


@dataclass
class Position:
    """The progress of a training."""

    step: int = 0
    """The number of steps done, over all epochs; a batch that was left out counts as one."""
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
    best_step: int = 0
    """The number of steps that were done at the best look."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The figures of each look, by name; `epoch` is the number of epochs that were done then, which may be broken."""
    left_out: list[int] = field(default_factory=list)
    """The numbers, from 1 on, of the steps that are not taken, since they were bad ones."""
    precision: Precision | None = None
    """The number format of the steps so far, which a resumed training keeps."""
    num_threads: int | None = None
    """The number of threads of the steps so far, on which the last digits of the weights depend; a resumed training
    keeps it, too, on as many ranks."""
    num_ranks: int = 1
    """The number of ranks of the steps so far."""

    @property
    def name(self) -> str:
        """The name of the checkpoint at this position; those of later positions come after it."""
        return f"{self.step:09d}-{len(self.history):05d}-{len(self.left_out):03d}"


@dataclass(frozen=True)
class Manner:
    """The manner in which a training that was stopped ran; None for what is not known."""

    precision: Precision | None = None
    num_threads: int | None = None
    num_ranks: int = 1


@dataclass(frozen=True)
class Snapshot:
    """A training's state at one moment, to be written."""

    name: str
    position: dict[str, Any]
    tensors: Tensors
    best: str | None
    """How the name of the checkpoint with the best weights so far begins; None while there is none."""


def snapshot(
    position: Position, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], copies: Tensors | None,
    ranks: Ranks = ALONE,
) -> Snapshot:  # fmt: skip
    """Return a training's state, copied into `copies`, so that the training may go on while it is written; the state
    itself where that is None. Other ranks than the first call `hand_over` meanwhile."""
    state = state_of(model, optimizers)
    if copies is None:
        tensors = {
            file: {name: ranks.whole(value).cpu().contiguous() for name, value in named.items()}
            for file, named in state.items()
        }
    else:
        make_room(copies, state)
        for file, named in state.items():
            for name, value in named.items():
                copy_into(copies[file][name], ranks.whole(value))
        tensors = copies
    others = {f"{RANDOM}{name}": value for name, value in ranks.random_states().items()}
    tensors = tensors | {TRAINING: tensors[TRAINING] | others}
    return Snapshot(position.name, asdict(position), tensors, best_of(position))


def hand_over(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], *, ranks: Ranks) -> None:
    """Give the first rank what its snapshot needs of this one."""
    for named in state_of(model, optimizers).values():
        for value in named.values():
            ranks.whole(value)
    ranks.random_states()


def copy_into(target: Tensor, value: Tensor) -> None:
    """Copy a tensor into one of this machine's memory, of the same shape and kind."""
    if value.device.type == "cpu" and value.is_contiguous():
        # torch divides a copy among its threads, which wait for each other: ten times as long on a busy machine.
        np.copyto(target.view(-1).view(torch.uint8).numpy(), value.view(-1).view(torch.uint8).numpy())
    else:
        target.copy_(value)


def make_room(copies: Tensors, state: Tensors) -> None:
    """Have in `copies` a tensor in this machine's memory for each of `state`, those that are there already kept."""
    for file, named in state.items():
        before, copies[file] = copies.get(file, {}), {}
        for name, value in named.items():
            there = before.get(name)
            if there is None or there.shape != value.shape or there.dtype != value.dtype:
                # Filled, since memory is the process's own only once it is written to.
                there = torch.zeros(value.shape, dtype=value.dtype).fill_(0)
            copies[file][name] = there


def state_of(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Tensors:
    """Return the tensors of a training, by the file of a checkpoint."""
    random = {f"{RANDOM}{name}": value for name, value in random_state().items()}
    return {MODEL: weights_of(model), TRAINING: optimizer_tensors(optimizers) | random}


def num_bytes_of(state: Tensors) -> int:
    """Return the size of a training's tensors, in bytes."""
    return sum(value.numel() * value.element_size() for named in state.values() for value in named.values())


def best_of(position: Position) -> str | None:
    """Return how the name of the checkpoint of the best look begins, whatever was left out; None without a look."""
    return f"{position.best_step:09d}-{position.best_look:05d}-" if position.best_look else None


def write(folder: Path, shot: Snapshot) -> Path:
    """Write a checkpoint into the training's folder, and return its own folder; raise DiskFullError where the disk is
    full, and leave nothing of it then."""
    partial, place = folder / PARTIAL, folder / shot.name
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            for file, tensors in shot.tensors.items():
                write_tensors(partial / file, tensors)
            write_json(partial / POSITION, shot.position, durable=False)
            files = {name: sha256_of(partial / name) for name in (*shot.tensors, POSITION)}
            write_json(partial / CARD, {"format": FORMAT, "files": files}, durable=False)
            for path in (*partial.iterdir(), partial):
                sync(path)
            remove(place)  # what is there has this name, too: it is the same, or it is damaged
            partial.rename(place)
            sync(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return place


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; DiskFullError where the disk is full."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # the library's own, which says it in words
        if is_of_full_disk(error):
            raise disk_full(f"while writing {path.parent.parent}") from error
        raise


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, so that a kill meanwhile leaves no part of it under its name."""
    if checkpoint.exists():
        old = checkpoint.with_name(f".{checkpoint.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        checkpoint.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def rotate(folder: Path, *, keep: int, best: str | None) -> None:
    """Remove all checkpoints but the last `keep` and the one of the best look."""
    found = newest_first(folder)
    kept = {*found[:keep], *[path for path in found if best and path.name.startswith(best)][:1]}
    for path in found:
        if path not in kept:
            remove(path)
    for left in folder.glob(".*.old"):  # by a kill in between
        shutil.rmtree(left, ignore_errors=True)


def newest_first(folder: Path) -> list[Path]:
    """Return the folders of the checkpoints, the one that came farthest first."""
    return sorted((path.parent for path in folder.glob(f"[0-9]*/{CARD}")), reverse=True)


def fault_of(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, in words; None where nothing is.

    Raise InputError where a newer version of Modelyard wrote it.
    """
    try:
        card = read_json(checkpoint / CARD)
        number, files = int(card["format"]), dict(card["files"])
    except (ArtifactError, KeyError, TypeError, ValueError):
        return f"{checkpoint / CARD} is missing or is not what was written"
    if number > FORMAT:
        raise InputError(
            f"the checkpoint {checkpoint} is of a newer version of Modelyard (format {number}; this one reads up to "
            f"{FORMAT}): run with that version again, or remove {checkpoint.parent} to train from the beginning"
        )
    return fault_of_recorded(checkpoint, files)


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint to carry on from."""
    return bool(newest_first(folder))


def last_position(folder: Path) -> Position | None:
    """Return the position of the last checkpoint whose position is whole; None where there is none."""
    for path in newest_first(folder):
        try:
            if sha256_of(path / POSITION) == read_json(path / CARD)["files"][POSITION]:
                return Position(**read_json(path / POSITION))
        except (ArtifactError, OSError, KeyError, TypeError):
            continue
    return None


def kept_manner(folder: Path) -> Manner:
    """Return the manner in which a training that was stopped ran; an empty one where there is none to carry on.

    Raise InputError where a newer version of Modelyard began it.
    """
    for path in newest_first(folder)[:1]:
        fault_of(path)
    left = last_position(folder)
    return Manner(left.precision, left.num_threads, left.num_ranks) if left else Manner()


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ranks: Ranks = ALONE
) -> Position | None:
    """Restore model, optimizers and random states from the last checkpoint that is whole; return its position, or None
    without one. Only the first rank reads it, and it may be of any number of them.

    One that is damaged, or whose best weights are, is taken away, which a line says. Raise InputError where a newer
    version of Modelyard wrote it.
    """
    found = ranks.first_does(lambda: name_of_last_whole(folder))
    if found is None:
        return None
    position = Position(**ranks.first_does(lambda: read_json(folder / found / POSITION)))
    restore(folder / found, position, model=model, optimizers=optimizers, ranks=ranks)
    return position


def name_of_last_whole(folder: Path) -> str | None:
    """Return the name of the last checkpoint that is whole, with its best weights; None without one. Those that are
    not are taken away."""
    if (folder / "last").is_dir():
        logger.warning("the checkpoint %s is of an older version of Modelyard: training begins anew", folder / "last")
        shutil.rmtree(folder / "last")
    found = newest_first(folder)
    for checkpoint in found:
        fault = fault_of(checkpoint)
        position = None if fault else Position(**read_json(checkpoint / POSITION))
        if position is not None:
            fault = fault_of_best(folder, position)
        if position is None or fault:
            then = "begins anew" if checkpoint == found[-1] else "carries on from the one before"
            logger.warning("%s: the checkpoint is taken away, and training %s", fault, then)
            remove(checkpoint)
            continue
        return checkpoint.name
    return None


def fault_of_best(folder: Path, position: Position) -> str | None:
    """Return what is wrong with the checkpoint of the best look, in words; None where nothing is."""
    best = best_of(position)
    if best is None:
        return None
    found = [path for path in newest_first(folder) if path.name.startswith(best)]
    return fault_of(found[0]) if found else f"{folder / best}* with the best weights is missing"


def restore(
    checkpoint: Path, position: Position, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ranks: Ranks
) -> None:
    """Give model, optimizers and random states the values of a checkpoint."""
    fill(model, checkpoint / MODEL, ranks=ranks)
    states: list[dict[str, Any]] = [{**optimizer.state_dict(), "state": {}} for optimizer in optimizers]
    indexed = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in optimizers]
    random: dict[str, Tensor] = {}
    for key, value in read_on_first(checkpoint / TRAINING, ranks=ranks):
        if key.startswith(RANDOM):
            random[key.removeprefix(RANDOM)] = value
            continue
        player, index, name = key.split(".", 2)
        parameter = indexed[int(player)][int(index)]
        held = ranks.laid_out(value, parameter) if value.shape == parameter.shape else value
        states[int(player)]["state"].setdefault(int(index), {})[name] = held
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
    ranks.restore_random(random, step=position.step)


def load_best(folder: Path, position: Position, model: nn.Module, *, ranks: Ranks = ALONE) -> None:
    """Load the weights of the best look back into the model; raise ArtifactError where they are damaged."""

    def place_of_best() -> str | None:
        if fault := fault_of_best(folder, position):
            raise ArtifactError(f"{fault}: run again, and training carries on from the last checkpoint that is whole")
        best = best_of(position)
        return next((path.name for path in newest_first(folder) if best and path.name.startswith(best)), None)

    if (found := ranks.first_does(place_of_best)) is not None:
        fill(model, folder / found / MODEL, ranks=ranks)


def read_on_first(path: Path, *, ranks: Ranks) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a file by name, which the first rank alone reads."""
    return ranks.from_first(load_file(path) if ranks.is_first else {})


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by name, those that are tied once, by their first name."""
    first = first_names(model)
    return {name: value for name, value in model.state_dict().items() if first[name] == name}


def fill(model: nn.Module, weights: Path, *, ranks: Ranks) -> None:
    """Give the model the tensors of a checkpoint, as `weights_of` named them."""
    present, first = model.state_dict(), first_names(model)
    read = {name: ranks.laid_out(value, present[name]) for name, value in read_on_first(weights, ranks=ranks)}
    model.load_state_dict({name: read[known] for name, known in first.items()})


def first_names(model: nn.Module) -> dict[str, str]:
    """Return for each name of a model's tensors the first one of the same tensor: its own, or that which it is tied
    to."""
    firsts: dict[object, str] = {}
    return {
        name: name if not value.numel() else firsts.setdefault(identity(value), name)
        for name, value in model.state_dict(keep_vars=True).items()
    }


def identity(tensor: Tensor) -> object:
    """Return what two names of one tensor have alike; one that is cut among ranks has no place in memory."""
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor.data_ptr(), tensor.shape, tensor.stride()
    return id(tensor)


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimizers' tensors by `<optimizer>.<parameter>.<name>`; their settings come from the recipe again."""
    tensors: dict[str, Tensor] = {}
    for player, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{player}.{index}.{name}"] = value.detach()
    return tensors
