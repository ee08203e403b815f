"""pretrain by training on the recipe's own rows, with the objective that the recipe names.

Seeded: on one machine two runs give the same weights, bit for bit; a run that was stopped carries on.
"""

import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from components.champion import champion_folder
from components.errors import InputError
from components.estimate.prediction import foretold
from components.estimate.training import check_memory
from components.models.facts import Facts, read_facts
from components.models.storage import FAMILY, TOKENIZER, WEIGHTS, build, keep_tokenizer, load, save
from components.params import PretrainFromData
from components.pretrain.load import check_same_tokenizer, refuse_pickles
from components.pretrain.stage import Inputs, Outputs
from components.sources import fetch_folder
from components.tracking import Tracker
from components.training.history import write_history
from components.training.loop import plan_of, train
from components.training.machine import start
from components.training.objective import Data, Objective


@dataclass(frozen=True)
class Report:
    family: str
    objective: str
    num_parameters: int
    num_steps: int
    num_epochs: int
    """Epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    """Whose weights are kept."""
    precision: str
    train_loss: float
    """Of the last epoch."""
    validation_loss: float
    """Of the epoch whose weights are kept."""
    size_bytes: int
    """Of model.safetensors."""


def run(params: PretrainFromData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Train, and save what is kept. InputError where the training cannot fit into memory."""
    machine = start(params, outputs.checkpoints / "train")
    facts = read_facts(inputs.predictor)
    data = Data(inputs.train, inputs.validation, inputs.unlabelled, inputs.predictor)
    check_memory(
        params, facts, network=lambda: build(params.model, facts), data=data, stage="pretrain", device=machine.device
    )
    model = first_weights(params, facts, inputs, outputs, tracker=tracker).to(machine.device)
    objective: Objective = importlib.import_module(f"components.training.{params.objective.name}").prepare(
        params, model=model, facts=facts, data=data, tracker=tracker, device=machine.device,
        precision=machine.precision,
    )  # fmt: skip
    trained = objective.model or model
    plan = plan_of(params, objective, machine.precision)
    checkpoints = outputs.checkpoints / "train"
    with foretold(trained, plan, objective, data=data, checkpoints=checkpoints, tracker=tracker):
        position = train(trained, plan, objective, checkpoints=checkpoints, tracker=tracker, title="pretrain")
    kept = objective.result(trained.cpu())
    save(kept, outputs.model, family=params.model.family, settings=params.model, facts=facts)
    keep_tokenizer(inputs.predictor, outputs.model)
    write_history(outputs.history, position.history)
    best = position.history[position.best_epoch - 1]
    return Report(
        family=params.model.family,
        objective=params.objective.name,
        num_parameters=sum(p.numel() for p in kept.parameters()),
        num_steps=position.step,
        num_epochs=position.epoch,
        best_epoch=position.best_epoch,
        precision=machine.precision,
        train_loss=position.history[-1]["train_loss"],
        validation_loss=best["validation_loss"],
        size_bytes=(outputs.model / WEIGHTS).stat().st_size,
    )


def first_weights(
    params: PretrainFromData, facts: Facts, inputs: Inputs, outputs: Outputs, *, tracker: Tracker
) -> nn.Module:
    """The network before its first step: of random weights, or with those of another model of the same shape."""
    model = build(params.model, facts)
    if params.source is None:
        return model
    work = outputs.checkpoints / "source"
    try:
        if params.source == "champion":
            folder = champion_folder(tracker, work)
        else:
            folder = fetch_folder(params.source, root=inputs.project, folder=work)
            refuse_pickles(folder)
        theirs = loaded(folder, inputs.predictor)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    check_same_shape(theirs, model)
    model.load_state_dict(theirs.state_dict())
    return model


def loaded(folder: Path, predictor: Path) -> nn.Module:
    """Another training's model, of a classifier its encoder. InputError where it read other tokens."""
    if not (folder / FAMILY).is_file():
        raise InputError(f"pretrain.source holds no {FAMILY}; it must be a model that a recipe of this project made")
    if (predictor / TOKENIZER).is_file():
        check_same_tokenizer(folder / TOKENIZER, predictor / TOKENIZER)
    theirs = load(folder)
    return getattr(theirs, "encoder", theirs)


def check_same_shape(theirs: nn.Module, ours: nn.Module) -> None:
    """InputError where another model's weights do not fit this recipe's."""
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    different = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if different:
        name = different[0]
        raise InputError(
            f"pretrain.source has other weights than pretrain.model asks for: {name} is {found.get(name)}, not "
            f"{shapes.get(name)} ({len(different)} differ); let pretrain.model and preprocess.tokenizer be those that "
            "it was trained with"
        )
