"""finetune by training the pretrained encoder with a new classification head.

The method is that of Devlin et al. 2018 (BERT, arXiv:1810.04805, section 4), with batches of like lengths; the head is
that of transformers' own class for classifying texts, and `way` says which weights are trained.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from components.finetune.control import ControlTracker, write_no_control
from components.finetune.labels import Trained, trained_on_labels
from components.finetune.stage import Inputs, Outputs
from components.fitting import Training, fit
from components.models.encoder.network import EncoderClassifier, classifier_from_encoder
from components.models.encoder.ways import merge, restrict
from components.models.facts import Facts, read_facts
from components.models.opening import make_openable
from components.models.storage import save
from components.params import Adapt, Full
from components.plumbing.artifacts import PREDICTOR, WHERE_KNOWN, read_json
from components.tracking.tracker import Tracker
from components.training.checkpoint import Position
from components.training.history import write_history
from components.training.objective import Data


@dataclass(frozen=True)
class Report(Trained):
    """The figures of an encoder that was adapted to labels, and the way in which it was trained."""

    way: str


@dataclass(frozen=True)
class ReportWithControl(Report):
    """The figures of an adapted encoder, and those of its control, which was trained without pretraining."""

    control_best_epoch: int
    control_validation_accuracy: float
    """The control's accuracy on the validation split, in the control's own best epoch."""
    control_validation_f1_macro: float
    """The control's macro F1 on the validation split, in the control's own best epoch."""
    control_num_left_out: int | None = field(default=None, kw_only=True, metadata=WHERE_KNOWN)
    """The number of batches that were left out of the control's training."""


def run(params: Adapt, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Train the adapted encoder, and its control where the recipe asks for one; return the figures."""
    facts = read_facts(inputs.predictor)
    trained, position = adapt(params, inputs, facts, to=outputs.model, outputs=outputs, tracker=tracker)
    write_history(outputs.history, position.history)
    report: dict[str, Any] = asdict(trained) | {"way": params.way.name}
    if not params.control:
        write_no_control(outputs.control)
        return Report(**report)
    control, _ = adapt_nothing(params, inputs, facts, outputs=outputs, tracker=tracker)
    return ReportWithControl(
        **report,
        control_best_epoch=control.best_epoch,
        control_validation_accuracy=control.validation_accuracy,
        control_validation_f1_macro=control.validation_f1_macro,
        control_num_left_out=control.num_left_out,
    )


def adapt(
    params: Adapt, inputs: Inputs, facts: Facts, *, to: Path, outputs: Outputs, tracker: Tracker,
    pretrained: bool = True,
) -> tuple[Trained, Position]:  # fmt: skip
    """Train one classifier and save it in the folder `to`; return its figures and the progress of its training.

    The encoder begins with the pretrained weights, or with random ones where `pretrained` is false.
    """
    work = training_of(params, inputs, outputs, facts, name=to.name, pretrained=pretrained)
    fitted = fit(work, tracker=tracker)
    merged = merge(cast(EncoderClassifier, fitted.model))
    save(merged, to, family="encoder", settings=None, facts=facts)
    make_openable(to, predictor=inputs.predictor)
    return trained_on_labels(replace(fitted, model=merged)), fitted.position


def trainings(params: Adapt, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> tuple[Training, ...]:
    """Return the training of the pretrained encoder and, where the recipe asks for one, that of its control."""
    del tracker
    facts = read_facts(inputs.predictor)
    adapted = training_of(params, inputs, outputs, facts, name=outputs.model.name, pretrained=True)
    if not params.control:
        return (adapted,)
    control = training_of(of_control(params), inputs, outputs, facts, name=outputs.control.name, pretrained=False)
    return adapted, control


def training_of(
    params: Adapt, inputs: Inputs, outputs: Outputs, facts: Facts, *, name: str, pretrained: bool
) -> Training:
    """Return the training of a classifier that will lie in the folder `name`."""
    labels: list[str] = read_json(inputs.predictor / PREDICTOR)["labels"]

    def network(*, pretrained: bool) -> EncoderClassifier:
        model = classifier_from_encoder(inputs.pretrained, labels=labels, dropout=params.dropout, pretrained=pretrained)
        restrict(model, params.way)
        return model

    return Training(
        params, facts, Data(inputs.train, inputs.validation, None, inputs.predictor),
        network=partial(network, pretrained=False), first=partial(network, pretrained=pretrained),
        stage="finetune", title=f"finetune {name}", checkpoints=outputs.checkpoints / name,
    )  # fmt: skip


def adapt_nothing(
    params: Adapt, inputs: Inputs, facts: Facts, *, outputs: Outputs, tracker: Tracker
) -> tuple[Trained, Position]:
    """Train the control, the same network from random weights; return its figures and the progress of its training."""
    return adapt(
        of_control(params), inputs, facts, to=outputs.control, outputs=outputs, tracker=ControlTracker(tracker),
        pretrained=False,
    )  # fmt: skip


def of_control(params: Adapt) -> Adapt:
    """Return the settings of the control.

    All of its weights are trained, whatever the recipe freezes: freezing keeps what is known, and random weights know
    nothing.
    """
    return params.model_copy(update={"way": Full(name="full", freeze=())})
