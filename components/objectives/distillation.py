"""The objective of a student: to answer as its teacher does, and to have the teacher's states after the kept layers.

The loss is the Kullback-Leibler divergence from the student's answers to the teacher's, both softened by a temperature
and scaled by its square (Hinton, Vinyals and Dean 2015, arXiv:1503.02531). For an encoder, the mean squared difference
of the states after each kept layer is added (Sun et al. 2019, arXiv:1908.09355; Jiao et al. 2020, arXiv:1909.10351),
and where the recipe weighs labels, the cross-entropy on them. The teacher answers each batch as it comes, so a text may
be altered each time it is read, and rows without a label count as much as others.

Legend: B rows of a batch, T tokens of its longest row, C width of an encoder, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from components.models.facts import Facts
from components.models.opening import ROLES
from components.objectives.classification import NO_LABEL, objective_of_task, of_arrays, of_texts
from components.params import AlterTexts, Distillation
from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.batches import ArrayBatch, Batch, Rows
from components.training.objective import Data, Objective, Player, shares
from components.training.precision import Precision

STAGE = "compress.students.distillation"
ALTERING = 2
"""What tells the random numbers of altered texts apart from those of the batches' order."""


@dataclass(frozen=True)
class Seen:
    """The outputs of a network for a batch: its logits, and its states where they are compared."""

    logits: Tensor
    """(B, K)."""
    states: tuple[Tensor, ...]
    """The states after the embeddings and after each layer, (B, T, C) each; empty where they are not compared."""


class Pair(nn.Module):
    """A student with its teacher, which is never trained; called, it answers as the student."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, kept: Sequence[int]) -> None:
        """`kept` are the numbers of the teacher's layers that the student has, from 0 on."""
        super().__init__()
        self.student, self.teacher, self.kept = student, teacher.requires_grad_(False), tuple(kept)

    def train(self, mode: bool = True) -> "Pair":
        """Let the student train, or not; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the student's logits, (B, K)."""
        return self.student(*inputs)


def prepare(
    params: Distillation, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker, device: torch.device,
    precision: Precision,
) -> Objective:  # fmt: skip
    """Set up the training of a `Pair`; raise InputError where a setting has no effect on such a student."""
    del tracker
    assert isinstance(model, Pair)
    check_effects(params, model, facts)
    if facts.shape:
        task = of_arrays(params, facts, data, augment=params.images)
    else:
        task = of_texts(params, facts, data, altered=altering(params, data))

    def loss_of(model: nn.Module, batch: Batch | ArrayBatch) -> Tensor:
        assert isinstance(model, Pair)
        given = [part.to(device) for part in inputs_of(batch)]
        with torch.no_grad():
            wanted = seen(model.teacher, given, states=bool(params.hidden))
        return distance(seen(model.student, given, states=bool(params.hidden)), wanted, batch, model.kept, params)

    player = Player("", list(model.named_parameters()), loss_of, divided)
    found = objective_of_task(task, params, model, player, device=device, precision=precision, stage=STAGE)
    return replace(found, result=student_of)


def check_effects(params: Distillation, model: Pair, facts: Facts) -> None:
    """Raise InputError for a setting that has no effect on such rows or such a network."""
    if params.hidden and not hasattr(model.student, "with_states"):
        raise InputError(
            f"{STAGE}.hidden compares the states of an encoder's layers, and {type(model.student).__name__} is none; "
            "set it to 0"
        )
    if params.images is not None and len(facts.shape) != 2:
        raise InputError(f"{STAGE}.images moves images, and the rows here are none; leave it out")
    if params.texts is not None and facts.shape:
        raise InputError(f"{STAGE}.texts alters texts, and the rows here are arrays; leave it out")


def student_of(model: nn.Module) -> nn.Module:
    """Return the part of a pair that is kept."""
    assert isinstance(model, Pair)
    return model.student


def divided(batch: Any, size: int) -> Sequence[tuple[Any, float]]:
    return shares(batch.parts(size), lambda part: len(part.row))


def inputs_of(batch: Batch | ArrayBatch) -> list[Tensor]:
    """Return what a network takes of a batch: token ids and their attention mask, or scaled numbers."""
    return [batch.values] if isinstance(batch, ArrayBatch) else [batch.input_ids, batch.attention_mask]


def seen(model: nn.Module, given: Sequence[Tensor], *, states: bool) -> Seen:
    """Return what a network makes of a batch, with its states where they are asked for."""
    if states:
        network: Any = model
        return Seen(*network.with_states(*given))
    return Seen(model(*given), ())


def distance(found: Seen, wanted: Seen, batch: Batch | ArrayBatch, kept: Sequence[int], params: Distillation) -> Tensor:
    """Return by how much what a student made of a batch differs from what its teacher did."""
    logits, heat = found.logits.float(), params.temperature
    loss = heat**2 * functional.kl_div(
        functional.log_softmax(logits / heat, dim=-1), functional.log_softmax(wanted.logits.float() / heat, dim=-1),
        log_target=True, reduction="batchmean",
    )  # fmt: skip
    if params.hidden:
        assert isinstance(batch, Batch)
        loss = loss + params.hidden * distance_of_states(found, wanted, batch.attention_mask, kept)
    if params.labels:
        label_id = batch.label_id.to(logits.device)
        known = functional.cross_entropy(logits, label_id, ignore_index=NO_LABEL, reduction="sum")
        loss = loss + params.labels * known / len(label_id)
    return loss


def distance_of_states(found: Seen, wanted: Seen, attention_mask: Tensor, kept: Sequence[int]) -> Tensor:
    """Return the mean squared difference of the states of real tokens after each kept layer; each row counts alike."""
    real = attention_mask.to(found.logits.device).float()  # (B, T)
    parts: list[Tensor] = []
    for place, layer in enumerate(kept):
        each = (found.states[place + 1].float() - wanted.states[layer + 1].float()).square().mean(dim=-1)  # (B, T)
        parts.append(((each * real).sum(dim=1) / real.sum(dim=1)).mean())
    return torch.stack(parts).mean()


@dataclass(frozen=True)
class Altering:
    """A function of a split and an epoch that returns the split with its texts altered."""

    settings: AlterTexts
    mask_id: int
    seed: int

    def __call__(self, rows: Rows, epoch: int) -> Rows:
        random = np.random.default_rng([self.seed, epoch, ALTERING])
        ids = [self.altered(own, rows, random) for own in rows.input_ids]
        return Rows(rows.row, ids, np.full(len(rows), NO_LABEL))

    def altered(self, ids: NDArray[Any], rows: Rows, random: np.random.Generator) -> NDArray[Any]:
        """Return a text's token ids, altered in the way that is drawn; the marks at both ends stay."""
        settings = self.settings
        way, inner = random.random(), ids[1:-1]
        if not len(inner) or way >= settings.mask + settings.drop + settings.splice:
            return ids
        if way < settings.mask:
            inner = np.where(random.random(len(inner)) < settings.words, self.mask_id, inner)
        elif way < settings.mask + settings.drop:
            inner = inner[random.random(len(inner)) >= settings.words]
        else:
            other = rows.input_ids[int(random.integers(len(rows)))][1:-1]
            first, rest = random.integers(len(inner) + 1), random.integers(len(other) + 1)
            inner = np.concatenate([inner[:first], other[rest:]])[: rows.longest - 2]
        return np.concatenate([ids[:1], inner, ids[-1:]]) if len(inner) else ids


def altering(params: Distillation, data: Data) -> Altering | None:
    """Return how texts are altered in each epoch; None where they stay as they are."""
    if params.texts is None:
        return None
    tokenizer = Tokenizer.from_file(str(data.predictor / TOKENIZER))
    marks = ROLES["mask_token"]
    mask_id = next((found for mark in marks if (found := tokenizer.token_to_id(mark)) is not None), None)
    if mask_id is None and params.texts.mask:
        raise InputError(
            f"{STAGE}.texts.mask puts one of the tokens {', '.join(marks)} in the place of others, and the tokenizer "
            "has none; set it to 0"
        )
    return Altering(params.texts, mask_id or 0, params.seed)
