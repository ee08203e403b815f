"""finetune: train the encoder and a classification head on the training split.

Reads the tokenized splits of preprocess and the encoder of pretrain; writes `model/` (config.json and
model.safetensors of the epoch that was best on the validation split) and `history.csv`, one row an epoch. The method
is that of Devlin et al. 2018 (BERT, arXiv:1810.04805, section 4), with the mean of the hidden states in place of the
first token's, and batches of like lengths. Seeded: on one machine two runs give the same weights, bit for bit.
"""

import csv
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional

from components.artifacts import artifact, checkpoints
from components.errors import InputError, did_you_mean
from components.models.encoder.network import EncoderClassifier, classifier_from_encoder, save_classifier
from components.params import Finetune
from components.tracking import Tracker
from components.training.batches import Batch, Rows, num_batches, ordered_batches, training_batches
from components.training.loop import Plan, train
from components.training.precision import choose_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    validation: Path = artifact("preprocess/validation.parquet")
    predictor: Path = artifact("preprocess/predictor.json")
    encoder: Path = artifact("pretrain/encoder/")


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    history: Path = artifact("history.csv")
    checkpoints: Path = checkpoints()


@dataclass(frozen=True)
class Report:
    num_train: int
    num_validation: int
    num_parameters: int
    num_trained_parameters: int
    num_steps: int
    num_epochs: int
    """Epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    precision: str
    train_loss: float
    """Of the last epoch."""
    validation_loss: float
    """This and the next two: of the best epoch."""
    validation_accuracy: float
    validation_f1_macro: float


def run(params: Finetune, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    settings = json.loads(inputs.predictor.read_text(encoding="utf-8"))
    num_labels, pad_token_id = len(settings["labels"]), int(settings["pad_token_id"])
    rows, validation = read_rows(inputs.train), read_rows(inputs.validation)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, speedup = choose_precision(params.precision, device=device)
    logger.info("training in %s on %s (bf16 is %.1f times as fast as fp32)", precision, device.type, speedup)

    torch.manual_seed(params.seed)
    torch.use_deterministic_algorithms(True)
    model = classifier_from_encoder(inputs.encoder, num_labels=num_labels, dropout=params.dropout).to(device)
    freeze(model, params.freeze)
    weights = class_weights(params.class_weights, rows.label_id, num_labels=num_labels).to(device)
    plan = Plan(
        num_epochs=params.epochs,
        num_steps_per_epoch=num_batches(rows, batch_size=params.batch_size),
        optimizer=params.optimizer,
        schedule=params.schedule,
        max_grad_norm=params.max_grad_norm,
        early_stopping=params.early_stopping,
        precision=precision,
    )

    def batches(epoch: int, start: int) -> Iterator[Batch]:
        return training_batches(
            rows, batch_size=params.batch_size, pad_token_id=pad_token_id, seed=params.seed, epoch=epoch, start=start
        )

    def loss_of(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.input_ids.to(device), batch.attention_mask.to(device))  # (B, K)
        return functional.cross_entropy(logits.float(), batch.label_id.to(device), weight=weights)

    def validate(model: nn.Module) -> dict[str, float]:
        return measure(model, validation, plan, pad_token_id=pad_token_id, batch_size=4 * params.batch_size)

    position = train(
        model, plan, batches=batches, loss_of=loss_of, validate=validate,
        checkpoints=outputs.checkpoints, tracker=tracker, title="finetune",
    )  # fmt: skip
    save_classifier(model.cpu(), outputs.model, encoder=inputs.encoder)
    write_history(outputs.history, position.history)
    best = position.history[position.best_epoch - 1]
    return Report(
        num_train=len(rows),
        num_validation=len(validation),
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        num_steps=position.step,
        num_epochs=position.epoch,
        best_epoch=position.best_epoch,
        precision=precision,
        train_loss=position.history[-1]["train_loss"],
        validation_loss=best["validation_loss"],
        validation_accuracy=best["validation_accuracy"],
        validation_f1_macro=best["validation_f1_macro"],
    )


def read_rows(path: Path) -> Rows:
    """A split of preprocess, as arrays."""
    table = pq.read_table(path, columns=["row", "input_ids", "label_id"])
    ids = table["input_ids"].combine_chunks()
    flat, offsets = ids.flatten().to_numpy(), ids.offsets.to_numpy()
    return Rows(
        row=table["row"].to_numpy(),
        input_ids=[flat[a:b] for a, b in pairwise(offsets)],
        label_id=table["label_id"].to_numpy(),
    )


def freeze(model: EncoderClassifier, parts: tuple[str, ...]) -> None:
    """Stop training the encoder's parameters whose names begin with one of `parts`; InputError where none does."""
    names = [name for name, _ in model.encoder.named_parameters()]
    for part in parts:
        if not any(name.startswith(part) for name in names):
            known = sorted({name.split(".")[0] for name in names})
            hint = did_you_mean(part, known)
            raise InputError(f"finetune.freeze: no parameter of the encoder begins with '{part}'{hint}; parts: {known}")
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad = not name.startswith(parts) if parts else True


def class_weights(mode: str, label_id: np.ndarray, *, num_labels: int) -> Tensor:
    """The weight of each class in the loss (K,); balanced is N / (K * rows of the class), as scikit-learn has it."""
    if mode == "none":
        return torch.ones(num_labels)
    counts = np.bincount(label_id, minlength=num_labels)
    return torch.from_numpy(len(label_id) / (num_labels * np.maximum(counts, 1))).float()


def measure(model: nn.Module, rows: Rows, plan: Plan, *, pad_token_id: int, batch_size: int) -> dict[str, float]:
    """Unweighted loss, accuracy and macro F1 on a split."""
    model.eval()
    device = next(model.parameters()).device
    actual: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    loss = 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
        for batch in ordered_batches(rows, batch_size=batch_size, pad_token_id=pad_token_id):
            logits = model(batch.input_ids.to(device), batch.attention_mask.to(device)).float().cpu()  # (B, K)
            loss += functional.cross_entropy(logits, batch.label_id, reduction="sum").item()
            predicted.append(logits.argmax(dim=1).numpy())
            actual.append(batch.label_id.numpy())
    truth, answer = np.concatenate(actual), np.concatenate(predicted)
    return {
        "validation_loss": loss / len(rows),
        "validation_accuracy": float((truth == answer).mean()),
        "validation_f1_macro": float(f1_score(truth, answer, average="macro", zero_division=0)),  # pyright: ignore[reportArgumentType]
    }


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One row an epoch, for DVC's plots."""
    with path.open("w", encoding="utf-8", newline="") as file:
        columns = ["epoch", *sorted(history[0].keys() - {"epoch"})]  # a resumed training read them back in any order
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
