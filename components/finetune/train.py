"""finetune by training a model of the recipe's own on the labels, from random weights or from another training's."""

from functools import partial

from components.finetune.control import write_no_control
from components.finetune.labels import Trained, trained_on_labels
from components.finetune.stage import Inputs, Outputs
from components.fitting import Training, fit
from components.models.facts import read_facts
from components.models.opening import make_openable
from components.models.storage import build, save
from components.params import TrainFromLabels
from components.tracking.tracker import Tracker
from components.training.history import write_history
from components.training.objective import Data
from components.training.starting import first_weights


def run(params: TrainFromLabels, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Trained:
    """Train the family's network on the labels, and save it with its settings; return the figures.

    Raise InputError where the training does not fit into memory, or where `params.source` holds another kind of model,
    and SourceError where the model of `params.source` read other tokens.
    """
    (work,) = trainings(params, inputs, outputs, tracker=tracker)
    fitted = fit(work, tracker=tracker)
    save(fitted.model, outputs.model, family=params.model.family, settings=params.model, facts=work.facts)
    make_openable(outputs.model, predictor=inputs.predictor)
    write_no_control(outputs.control)
    write_history(outputs.history, fitted.position.history)
    return trained_on_labels(fitted)


def trainings(params: TrainFromLabels, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> tuple[Training]:
    """Return the only training, that of the recipe's own model on the labels."""
    facts = read_facts(inputs.predictor)
    first = partial(
        first_weights, params.model, facts, params.source, stage="finetune", predictor=inputs.predictor,
        root=inputs.project, work=outputs.checkpoints / "source", tracker=tracker,
    )  # fmt: skip
    only = Training(
        params, facts, Data(inputs.train, inputs.validation, None, inputs.predictor),
        network=partial(build, params.model, facts), first=first, stage="finetune", title="finetune",
        checkpoints=outputs.checkpoints,
    )  # fmt: skip
    return (only,)
