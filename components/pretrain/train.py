"""pretrain by training on the recipe's own rows, with the objective that the recipe names.

Seeded: on one machine two runs give the same weights, bit for bit; a run that was stopped carries on.
"""

import importlib
from dataclasses import dataclass

from components.estimate.prediction import foretold
from components.estimate.training import check_memory
from components.models.facts import read_facts
from components.models.opening import make_openable
from components.models.storage import WEIGHTS, build, save
from components.params import PretrainFromData
from components.pretrain.stage import Inputs, Outputs
from components.tracking import Tracker
from components.training.history import write_history
from components.training.loop import plan_of, train
from components.training.machine import start
from components.training.objective import Data, Objective
from components.training.starting import first_weights


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
    model = first_weights(
        params.model, facts, params.source, stage="pretrain", predictor=inputs.predictor, root=inputs.project,
        work=outputs.checkpoints / "source", tracker=tracker,
    ).to(machine.device)  # fmt: skip
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
    make_openable(outputs.model, predictor=inputs.predictor)
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
