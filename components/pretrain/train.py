"""pretrain by training on the recipe's own rows, with the objective that the recipe names."""

from dataclasses import dataclass, field
from functools import partial

from components.fitting import Training, fit
from components.models.facts import read_facts
from components.models.opening import make_openable
from components.models.storage import WEIGHTS, build, save
from components.params import PretrainFromData
from components.plumbing.artifacts import WHERE_KNOWN
from components.pretrain.stage import Inputs, Outputs
from components.tracking.tracker import Tracker
from components.training.history import write_history
from components.training.objective import Data
from components.training.starting import first_weights


@dataclass(frozen=True)
class Report:
    """The figures of a training on the recipe's own rows."""

    family: str
    objective: str
    num_parameters: int
    num_steps: int
    num_epochs: int
    """The number of epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    """The number, from 1 on, of the epoch whose weights are kept."""
    precision: str
    train_loss: float
    """The training loss of the last epoch."""
    validation_loss: float
    """The loss on the validation split, in the epoch whose weights are kept."""
    size_bytes: int
    """The size of model.safetensors, in bytes."""
    num_left_out: int | None = field(default=None, kw_only=True, metadata=WHERE_KNOWN)
    """The number of batches that were left out, where the recipe lets some be (`on_spike`)."""


def run(params: PretrainFromData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Train the model, and save it with the weights that are kept; return the figures.

    Raise InputError where the training does not fit into memory, or where `params.source` holds another kind of model,
    and SourceError where the model of `params.source` read other tokens.
    """
    (work,) = trainings(params, inputs, outputs, tracker=tracker)
    fitted = fit(work, tracker=tracker)
    save(fitted.model, outputs.model, family=params.model.family, settings=params.model, facts=work.facts)
    make_openable(outputs.model, predictor=inputs.predictor)
    write_history(outputs.history, fitted.position.history)
    return Report(
        family=params.model.family,
        objective=params.objective.name,
        num_parameters=fitted.num_parameters,
        num_steps=fitted.position.step,
        num_epochs=fitted.num_epochs,
        best_epoch=fitted.position.best_epoch,
        precision=fitted.precision,
        train_loss=fitted.train_loss,
        validation_loss=fitted.best["validation_loss"],
        size_bytes=(outputs.model / WEIGHTS).stat().st_size,
        num_left_out=fitted.num_left_out,
    )


def trainings(params: PretrainFromData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> tuple[Training]:
    """Return the only training, that of the model on the recipe's own rows."""
    facts = read_facts(inputs.predictor)
    first = partial(
        first_weights, params.model, facts, params.source, stage="pretrain", predictor=inputs.predictor,
        root=inputs.project, work=outputs.checkpoints / "source", tracker=tracker,
    )  # fmt: skip
    only = Training(
        params, facts, Data(inputs.train, inputs.validation, inputs.unlabelled, inputs.predictor),
        network=partial(build, params.model, facts), first=first, stage="pretrain", title="pretrain",
        checkpoints=outputs.checkpoints / "train",
    )  # fmt: skip
    return (only,)
