"""The objective of labels: cross-entropy on the logits of texts or arrays.

Reads the splits of preprocess as texts or arrays, whichever predictor.json describes. A model of texts takes token ids
and their attention mask, and a model of arrays takes the scaled numbers (B, N); both return a logit for each label.

Legend: B rows of a batch, N numbers of a row, K labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from components.models.facts import Facts
from components.params import Adapt, Augment, TrainFromLabels, Training
from components.plumbing.artifacts import PREDICTOR, read_json
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.augmenting import draw_moves, move
from components.training.batches import (
    LENGTH_STEP,
    ArrayBatch,
    Arrays,
    Batch,
    Rows,
    check_batch_norm,
    num_batches,
    ordered_batches,
    rows_of_a_step,
    training_batches,
    training_members,
)
from components.training.objective import Data, Objective, Player, shares
from components.training.precision import Precision
from components.training.rows import read_by_rows
from components.training.splits import read_arrays, read_rows

NO_LABEL = -100
"""The number in the place of a label that is not known; torch's cross-entropy passes over it."""
MEASURED_TOGETHER = 128
"""The largest number of rows of the validation split in one batch."""


@dataclass(frozen=True)
class Task:
    """The parts that differ between texts and arrays: where batches come from, and how a model reads one."""

    train: Rows | Arrays
    validation: Rows | Arrays
    batches: Callable[[int, int], Iterator[Batch] | Iterator[ArrayBatch]]
    """A function `batches(epoch, start)` of an epoch's batches from the `start`-th on."""
    measured: Callable[[], Iterator[Batch] | Iterator[ArrayBatch]]
    """A function that gives the batches of the whole validation split."""
    logits_of: Callable[[nn.Module, Any], Tensor]
    """A function of the model and a batch that returns logits (B, K)."""


def prepare(
    params: Adapt | TrainFromLabels, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker,
    device: torch.device, precision: Precision,
) -> Objective:  # fmt: skip
    """Set up the cross-entropy of `model`, weighted as `params` says.

    Raise InputError where the model is no classifier of these rows, or where batch norm would see a single row.
    """
    del tracker
    if facts.shape:
        task = of_arrays(params, facts, data, augment=params.augment if isinstance(params, TrainFromLabels) else None)
    else:
        multiple = params.pad_to_multiple_of if isinstance(params, Adapt) else LENGTH_STEP
        task = of_texts(params, facts, data, multiple=multiple)
    if isinstance(params, TrainFromLabels):
        check_classifier(model, task, family=params.model.family, num_labels=facts.num_labels)
    if isinstance(params, Adapt) and params.sparse_embeddings:
        hosted: Any = model.hosted
        read_by_rows(hosted.get_input_embeddings())
    each = class_weights(params.class_weights, task.train.label_id, num_labels=facts.num_labels)  # (K,)
    weights = torch.from_numpy(each).to(device)

    def loss_of(model: nn.Module, batch: Any) -> Tensor:
        logits = task.logits_of(model, batch)  # (B, K)
        return functional.cross_entropy(logits.float(), batch.label_id.to(device), weight=weights)

    def divided(batch: Any, size: int) -> Sequence[tuple[Any, float]]:
        return shares(batch.parts(size), lambda part: float(each[part.label_id.cpu().numpy()].sum(dtype=np.float64)))

    player = Player("", list(model.named_parameters()), loss_of, divided)
    return objective_of_task(task, params, model, player, device=device, precision=precision, stage="finetune")


def objective_of_task(
    task: Task, params: Training, model: nn.Module, player: Player, *, device: torch.device, precision: Precision,
    stage: str,
) -> Objective:  # fmt: skip
    """Return the objective of one player on the rows of a task, of which classes are measured on the validation split.

    Raise InputError where batch norm would see a single row; `stage` names the section that `params` is.
    """
    num_rows = len(task.train)
    batch_size = rows_of_a_step(params.batch_size, num_rows=num_rows)
    check_batch_norm(
        model, num_rows, batch_size=batch_size, micro_batch_size=params.micro_batch_size, steps=params.steps_per_epoch,
        stage=stage,
    )  # fmt: skip
    return Objective(
        players=[player],
        batches=task.batches,
        num_steps_per_epoch=num_batches(num_rows, batch_size=batch_size, steps=params.steps_per_epoch),
        validate=lambda model: figures_of_classes(model, task, device=device, precision=precision),
        unit="rows" if isinstance(task.train, Arrays) else "tokens",
    )


def of_texts(
    params: Training, facts: Facts, data: Data, *, multiple: int = LENGTH_STEP,
    altered: Callable[[Rows, int], Rows] | None = None,
) -> Task:  # fmt: skip
    """Return the task of texts as token ids, in batches of like lengths; those without a label are among them where
    `data` names some. `altered` gives the rows of an epoch."""
    train, validation = all_texts(data), read_rows(data.validation)
    batch_size = rows_of_a_step(params.batch_size, num_rows=len(train))

    def batches(epoch: int, start: int) -> Iterator[Batch]:
        return training_batches(
            altered(train, epoch) if altered else train, batch_size=batch_size, pad_token_id=facts.pad_token_id,
            seed=params.seed, epoch=epoch, start=start, steps=params.steps_per_epoch, multiple=multiple,
        )  # fmt: skip

    def measured() -> Iterator[Batch]:
        together = min(4 * (params.micro_batch_size or batch_size), MEASURED_TOGETHER)
        return ordered_batches(validation, batch_size=together, pad_token_id=facts.pad_token_id)

    def logits_of(model: nn.Module, batch: Batch) -> Tensor:
        device = next(model.parameters()).device
        return model(batch.input_ids.to(device), batch.attention_mask.to(device))

    return Task(train, validation, batches, measured, logits_of)


def all_texts(data: Data) -> Rows:
    """Read the texts of the training split, and those without a label."""
    train = read_rows(data.train)
    if data.unlabelled is None:
        return train
    more = read_rows(data.unlabelled)
    label_id = np.concatenate([train.label_id, np.full(len(more), NO_LABEL)])
    return Rows(np.concatenate([train.row, more.row]), [*train.input_ids, *more.input_ids], label_id)


def of_arrays(params: Training, facts: Facts, data: Data, *, augment: Augment | None) -> Task:
    """Return the task of arrays, which are moved a little each time where `augment` says so, and then scaled."""
    settings: dict[str, Any] = read_json(data.predictor / PREDICTOR)
    train, validation = (read_arrays(path, shape=facts.shape) for path in (data.train, data.validation))
    batch_size = rows_of_a_step(params.batch_size, num_rows=len(train))
    offset, scale = float(settings["offset"]), float(settings["scale"])

    def collate(rows: Arrays, members: Sequence[int] | np.ndarray, moves: np.ndarray | None = None) -> ArrayBatch:
        values = torch.from_numpy(rows.values[members])  # (B, *shape)
        if moves is not None:
            values = move(values, torch.from_numpy(moves[members]))
        scaled = ((values - offset) / scale).flatten(1)  # (B, N)
        label_id = torch.from_numpy(rows.label_id[members].astype(np.int64))
        return ArrayBatch(row=rows.row[members], values=scaled, label_id=label_id)

    def batches(epoch: int, start: int) -> Iterator[ArrayBatch]:
        moves = moves_of(augment, len(train), seed=params.seed, epoch=epoch)
        for members in training_members(
            len(train), batch_size=batch_size, seed=params.seed, epoch=epoch, start=start, steps=params.steps_per_epoch
        ):
            yield collate(train, members, moves)

    def measured() -> Iterator[ArrayBatch]:
        for first in range(0, len(validation), MEASURED_TOGETHER):
            yield collate(validation, np.arange(first, min(first + MEASURED_TOGETHER, len(validation))))

    def logits_of(model: nn.Module, batch: ArrayBatch) -> Tensor:
        return model(batch.values.to(next(model.parameters()).device))

    return Task(train, validation, batches, measured, logits_of)


def moves_of(augment: Augment | None, num_rows: int, *, seed: int, epoch: int) -> np.ndarray | None:
    """Draw how an epoch's images are moved, three numbers for each row; None where the recipe moves none."""
    return draw_moves(augment, num_rows, seed=seed, epoch=epoch) if augment else None


@torch.inference_mode()
def check_classifier(model: nn.Module, task: Task, *, family: str, num_labels: int) -> None:
    """Raise InputError where a family's network does not return a logit for each label of such rows."""
    batch = next(task.measured())
    wanted = f"logits of shape {[len(batch.row), num_labels]}"
    try:
        logits: Any = task.logits_of(model.eval(), batch)
    except (AttributeError, RuntimeError, TypeError) as error:  # whatever a network says to rows that are not for it
        raise InputError(f"finetune.model.family '{family}' is no classifier of these rows: {error}") from error
    if not isinstance(logits, Tensor) or logits.shape != (len(batch.row), num_labels):
        seen = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"finetune.model.family '{family}' is no classifier of these rows: it gives {seen}, not {wanted}"
        )


def class_weights(mode: str, label_id: np.ndarray, *, num_labels: int) -> NDArray[np.float32]:
    """Return the weight of each class in the loss, (K,).

    `balanced` is the number of rows over K times the rows of the class, as in scikit-learn; `none` weighs all alike.
    """
    if mode == "none":
        return np.ones(num_labels, np.float32)
    counts = np.bincount(label_id, minlength=num_labels)
    return (len(label_id) / (num_labels * np.maximum(counts, 1))).astype(np.float32)


def figures_of_classes(model: nn.Module, task: Task, *, device: torch.device, precision: Precision) -> dict[str, float]:
    """Return the unweighted loss, the accuracy and the macro F1 on the validation split."""
    model.eval()
    actual: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    loss = 0.0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for batch in task.measured():
            logits = task.logits_of(model, batch).float().cpu()  # (B, K)
            loss += functional.cross_entropy(logits, batch.label_id, reduction="sum").item()
            predicted.append(logits.argmax(dim=1).numpy())
            actual.append(batch.label_id.numpy())
    truth, answer = np.concatenate(actual), np.concatenate(predicted)
    return {
        "validation_loss": loss / len(truth),
        "validation_accuracy": float((truth == answer).mean()),
        "validation_f1_macro": macro_f1(truth, answer),
    }


def macro_f1(truth: np.ndarray, answer: np.ndarray) -> float:
    """Return the mean of the classes' F1 scores, each class that is true or answered somewhere counting alike.

    It is what scikit-learn's `f1_score(average="macro")` gives, to the last bit.
    """
    classes = np.union1d(truth, answer)[:, None]  # (K, 1)
    is_true, is_answered = truth == classes, answer == classes  # (K, N)
    num_right = (is_true & is_answered).sum(axis=1)
    return float(np.mean(2.0 * num_right / (is_true.sum(axis=1) + is_answered.sum(axis=1))))
