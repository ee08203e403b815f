"""The figures that finetune reports after a training on labels."""

from dataclasses import dataclass, field

from components.fitting import Fitted
from components.plumbing.artifacts import WHERE_KNOWN


@dataclass(frozen=True)
class Trained:
    """The figures of a training on labels."""

    num_parameters: int
    num_trained_parameters: int
    num_steps: int
    num_epochs: int
    """The number of epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    """The number, from 1 on, of the epoch whose weights are kept."""
    precision: str
    train_loss: float
    """The training loss of the last epoch."""
    validation_loss: float
    """The unweighted cross-entropy on the validation split, in the best epoch."""
    validation_accuracy: float
    """The accuracy on the validation split, in the best epoch."""
    validation_f1_macro: float
    """The macro F1 on the validation split, in the best epoch."""
    num_left_out: int | None = field(default=None, kw_only=True, metadata=WHERE_KNOWN)
    """The number of batches that were left out, where the recipe lets some be (`on_spike`)."""


def trained_on_labels(fitted: Fitted) -> Trained:
    """Return the figures that a report gives of a training on labels."""
    best = fitted.best
    return Trained(
        num_parameters=fitted.num_parameters,
        num_trained_parameters=fitted.num_trained_parameters,
        num_steps=fitted.position.step,
        num_epochs=fitted.num_epochs,
        best_epoch=fitted.position.best_epoch,
        precision=fitted.precision,
        train_loss=fitted.train_loss,
        validation_loss=best["validation_loss"],
        validation_accuracy=best["validation_accuracy"],
        validation_f1_macro=best["validation_f1_macro"],
        num_left_out=fitted.num_left_out,
    )
