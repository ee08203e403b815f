"""finetune by training the pretrained encoder with a new classification head.

The method is that of Devlin et al. 2018 (BERT, arXiv:1810.04805, section 4), with batches of like lengths; the head is
that of transformers' own class for classifying texts, and `way` says which weights are trained.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from components.finetune.control import write_no_control
from components.finetune.labels import Trained, trained_on_labels
from components.finetune.stage import Inputs, Outputs
from components.fitting import Fitted, Training, fit
from components.models.encoder.network import EncoderClassifier, classifier_from_encoder
from components.models.encoder.ways import Way, merge, restrict
from components.models.facts import read_facts
from components.models.opening import make_openable
from components.models.storage import save
from components.params import Adapt, Full
from components.plumbing.artifacts import PREDICTOR, WHERE_KNOWN, read_json
from components.tracking.named import NamedTracker
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
    adapted, *controls = trainings(params, inputs, outputs, tracker=tracker)
    trained, position = keep(fit(adapted, tracker=tracker), outputs.model, inputs)
    write_history(outputs.history, position.history)
    report: dict[str, Any] = asdict(trained) | {"way": params.way.name}
    if not controls:
        write_no_control(outputs.control)
        return Report(**report)
    control, _ = keep(fit(controls[0], tracker=NamedTracker(tracker, "control")), outputs.control, inputs)
    return ReportWithControl(
        **report,
        control_best_epoch=control.best_epoch,
        control_validation_accuracy=control.validation_accuracy,
        control_validation_f1_macro=control.validation_f1_macro,
        control_num_left_out=control.num_left_out,
    )


def trainings(params: Adapt, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> tuple[Training, ...]:
    """Return the training of the pretrained encoder and, where the recipe asks for one, that of its control: the same
    network from random weights.

    All weights of the control are trained, whatever the recipe freezes: freezing keeps what is known, and random
    weights know nothing.
    """
    del tracker
    labels: list[str] = read_json(inputs.predictor / PREDICTOR)["labels"]

    def network(way: Way, *, pretrained: bool) -> EncoderClassifier:
        model = classifier_from_encoder(inputs.pretrained, labels=labels, dropout=params.dropout, pretrained=pretrained)
        restrict(model, way)
        return model

    adapted = Training(
        params, read_facts(inputs.predictor), Data(inputs.train, inputs.validation, None, inputs.predictor),
        network=partial(network, params.way, pretrained=False), first=partial(network, params.way, pretrained=True),
        stage="finetune", title="finetune model", checkpoints=outputs.checkpoints / "model",
    )  # fmt: skip
    if not params.control:
        return (adapted,)
    whole = Full(name="full", freeze=())
    control = replace(
        adapted, params=params.model_copy(update={"way": whole}), network=partial(network, whole, pretrained=False),
        first=None, title="finetune control", checkpoints=outputs.checkpoints / "control",
    )  # fmt: skip
    return adapted, control


def keep(fitted: Fitted, folder: Path, inputs: Inputs) -> tuple[Trained, Position]:
    """Save a trained classifier in `folder`; return its figures and the progress of its training."""
    model = merge(cast(EncoderClassifier, fitted.model))
    save(model, folder, family="encoder", settings=None, facts=read_facts(inputs.predictor))
    make_openable(folder, predictor=inputs.predictor)
    return trained_on_labels(replace(fitted, model=model)), fitted.position
