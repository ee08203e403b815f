"""The figures that the modes that train on labels report."""

from dataclasses import dataclass

from components.fitting import Fitted


@dataclass(frozen=True)
class Trained:
    """The figures of a training on labels."""

    num_parameters: int
    num_trained_parameters: int
    num_steps: int
    num_epochs: int
    """Epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    """Whose weights are kept."""
    precision: str
    train_loss: float
    """Of the last epoch."""
    validation_loss: float
    """This and the next two: of the best epoch."""
    validation_accuracy: float
    validation_f1_macro: float


def trained_on_labels(fitted: Fitted) -> Trained:
    """What a report says of a training on labels."""
    best = fitted.best
    return Trained(
        num_parameters=fitted.num_parameters,
        num_trained_parameters=fitted.num_trained_parameters,
        num_steps=fitted.position.step,
        num_epochs=fitted.position.epoch,
        best_epoch=fitted.position.best_epoch,
        precision=fitted.precision,
        train_loss=fitted.train_loss,
        validation_loss=best["validation_loss"],
        validation_accuracy=best["validation_accuracy"],
        validation_f1_macro=best["validation_f1_macro"],
    )
