"""The cost of a recipe's trainings, from its section of params.yaml, before any of its stages has run.

Where a stage has run already, its output is used instead of the config's bounds: preprocess's report for the rows and
tokens, its `predictor/` for the sizes, pretrain's `config.json` for the shape of an encoder. Where params.yaml has been
edited since, so that `predictor/` has other sizes, the config is used. Every figure that had to be assumed is named.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, prod
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Tokens
from torch import nn
from transformers import AutoConfig

from components.estimate.counts import counts_of, here, outdated
from components.estimate.known import known_shape
from components.estimate.memory import Memory, available_bytes, memory_of
from components.estimate.parts import parameters_by_part
from components.estimate.prediction import BUDGET_S, predict_parts
from components.estimate.rows import Counts, write_predictor
from components.estimate.stages import stage_seconds
from components.estimate.training import Step, TrainingSection, numbers_needed, one_step
from components.models.encoder.network import EncoderClassifier, classifier_from_encoder, classifier_of, config_of
from components.models.encoder.ways import restrict
from components.models.facts import Facts, read_facts
from components.models.storage import CONFIG, build
from components.objectives.causal import MAX_VALIDATION_WINDOWS
from components.params import (
    Adapt,
    ArrayData,
    Full,
    Load,
    PretrainFromData,
    Recipe,
    TextClassificationData,
    TextGenerationData,
    TrainedTokenizer,
    TrainFromLabels,
)
from components.params.families.encoder import EncoderSettings
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, Layout
from components.plumbing.errors import InputError
from components.training.precision import choose_precision


@dataclass(frozen=True)
class TrainingEstimate:
    """The estimated cost of one training."""

    title: str
    family: str
    parameters: dict[str, int]
    """The number of parameters by part."""
    num_parameters: int
    num_trained: int
    memory: Memory
    process_bytes: int
    """The most that the process takes, with its libraries and rows, beside the copies of checkpoints."""
    copies_bytes: int
    """What the copies of a checkpoint take, where twice that is free; else training waits while one is written."""
    batch_size: int | str
    micro_batch_size: int | None
    precision: str
    num_epochs: int
    num_steps: int
    flops_a_step: int
    flops: int
    flops_per_s: float
    """The floating-point operations per second of the matrix products, as measured."""
    step_s: float
    rows_per_s: float
    tokens_per_s: float | None
    """The tokens without padding; None where a row is no text."""
    forward_s: float
    """The seconds of a row in the forward pass."""
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run of a recipe."""

    recipe: str
    device: str
    trainings: list[TrainingEstimate]
    available_bytes: int
    stages: dict[str, float]
    """The seconds of each stage, by its name."""
    seconds: float
    """The seconds of the whole run."""
    assumptions: list[str]

    @property
    def fits(self) -> bool:
        return all(training.memory.peak <= self.available_bytes for training in self.trainings)


@dataclass(frozen=True)
class Training:
    """One training of a recipe, with its parameters and its network."""

    title: str
    family: str
    params: TrainingSection
    network: Callable[[], nn.Module]


def estimate_recipe(root: Path, name: str, recipe: Recipe) -> Estimate:
    """Estimate all trainings of a recipe, in a few seconds.

    Raises InputError, which says what to do, where the config alone does not say enough.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assumptions: list[str] = []
    torch.use_deterministic_algorithms(True)  # as the stages do; it changes what some operations cost
    with tempfile.TemporaryDirectory(prefix="modelyard-estimate-") as work:
        facts = facts_of(root, name, recipe, Path(work))
        counts, num_characters = counts_of(root, name, recipe, facts, assumptions, work=Path(work))
        predictor = Path(work) / "predictor"
        write_predictor(predictor, recipe.task, facts)
        trainings = trainings_of(root, name, recipe, facts, Path(work))
        found = [
            estimate_training(
                training, facts, counts, predictor=predictor, device=device, budget_s=BUDGET_S / len(trainings)
            )
            for training in trainings
        ]
    stages = stage_seconds(
        recipe, counts, num_characters=num_characters, numbers_of_a_row=prod(facts.shape) if facts.shape else 0,
        forward_s=found[-1].forward_s, trainings=by_stage(found),
    )  # fmt: skip
    if any(training.params.early_stopping for training in trainings):
        assumptions.append("every epoch runs; early stopping may end before")
    return Estimate(
        recipe=name,
        device=device.type,
        trainings=found,
        available_bytes=available_bytes(device),
        stages=stages,
        seconds=sum(stages.values()),
        assumptions=assumptions,
    )


def estimate_training(
    training: Training, facts: Facts, counts: Counts, *, predictor: Path, device: torch.device, budget_s: float
) -> TrainingEstimate:
    """Estimate the memory of a step on texts of the longest length, and the time of steps on texts of usual ones.

    Raises InputError where the network looks at the numbers of its tensors, since there are none before a training.
    """
    try:
        return look_at(training, facts, counts, predictor=predictor, device=device, budget_s=budget_s)
    except Exception as error:
        where = numbers_needed(error)
        if where is None:
            raise
        raise InputError(
            f"{training.title}: the family '{training.family}' cannot be estimated, since its network looks at the "
            f"numbers of its tensors, and before a training there are none ({where}). Write it without .item(), "
            ".tolist(), `if` on a tensor and indices by a mask (torch.where does without); an export to ONNX does not "
            "take them, either. 'modelyard run' trains it all the same, without a look at its memory"
        ) from error


def look_at(
    training: Training, facts: Facts, counts: Counts, *, predictor: Path, device: torch.device, budget_s: float
) -> TrainingEstimate:
    """Estimate a training whose network does not look at the numbers of its tensors; where it does, torch raises an
    error."""
    params = training.params
    if not isinstance(params, PretrainFromData):
        counts = replace(counts, num_unlabelled=0)
    precision = choose_precision(params.precision, device=device)[0]

    def step(counts: Counts, *, usual: bool) -> Any:
        return one_step(
            params, facts, counts, network=training.network, predictor=predictor, device=device, precision=precision,
            usual=usual,
        )  # fmt: skip

    few = counts if params.batch_size == "full" else replace(
        counts, num_train=min(counts.num_train, 2 * params.batch_size + 2), num_unlabelled=0, lengths=()
    )  # fmt: skip
    with step(few, usual=False) as largest:
        memory = memory_of(largest.trace)
        kept = largest.objective.result(largest.model)
        parts, num_trained = parameters_by_part(kept), trained_parameters(largest)
    with step(counts, usual=True) as usual:
        looked_at = rows_looked_at(params, facts, counts, num_steps_per_epoch=usual.num_steps_per_epoch)
        told = predict_parts(
            usual.parts,
            num_steps_per_epoch=usual.num_steps_per_epoch,
            num_epochs=params.epochs,
            batch_s=usual.batch_s,
            validation_share=looked_at / usual.num_rows / usual.num_steps_per_epoch,
            device=device,
            budget_s=budget_s,
        )
    num_steps, flops = told.num_steps_per_epoch * params.epochs, round(usual.flops)
    return TrainingEstimate(
        title=training.title,
        family=training.family,
        parameters=parts,
        num_parameters=sum(parts.values()),
        num_trained=num_trained,
        memory=memory,
        process_bytes=memory.process_bytes(bytes_of_rows(counts, facts)),
        copies_bytes=memory.copies,
        batch_size=params.batch_size,
        micro_batch_size=params.micro_batch_size,
        precision=precision,
        num_epochs=params.epochs,
        num_steps=num_steps,
        flops_a_step=flops,
        flops=flops * num_steps,
        flops_per_s=told.timing.flops_per_s,
        step_s=told.step_s,
        rows_per_s=usual.num_rows / told.step_s,
        tokens_per_s=usual.num_units / told.step_s if usual.objective.unit == "tokens" else None,
        forward_s=told.timing.seconds["forward"] / usual.num_rows,
        seconds=told.seconds,
    )


def rows_looked_at(params: Any, facts: Facts, counts: Counts, *, num_steps_per_epoch: int) -> int:
    """Return the rows of the validation split that an epoch looks at, each as often as it does."""
    rows = min(counts.num_validation, MAX_VALIDATION_WINDOWS) if facts.reads_windows else counts.num_validation
    every = params.early_stopping.every if params.early_stopping else None
    return rows * ceil(num_steps_per_epoch / min(every or inf, num_steps_per_epoch))


def bytes_of_rows(counts: Counts, facts: Facts) -> int:
    """Return the bytes that the rows of a training take in memory."""
    numbers = prod(facts.shape) if facts.shape else counts.mean_length
    return round(4 * numbers * (counts.num_train + counts.num_validation + counts.num_unlabelled))


def by_stage(found: Sequence[TrainingEstimate]) -> dict[str, float]:
    """Return the seconds of the trainings of each stage; a control belongs to its stage."""
    seconds: dict[str, float] = {}
    for training in found:
        stage = training.title.split(",")[0]
        seconds[stage] = seconds.get(stage, 0.0) + training.seconds
    return seconds


def trained_parameters(step: Step) -> int:
    """Count the parameters that all players together train."""
    own = {id(p): p.numel() for player in step.objective.players for _, p in player.parameters if p.requires_grad}
    return sum(own.values())


def trainings_of(root: Path, name: str, recipe: Recipe, facts: Facts, work: Path) -> list[Training]:
    """Return the trainings of pretrain and finetune; raise InputError where there is none, or its model is not known
    yet."""
    found: list[Training] = []
    pretrain, finetune = recipe.pretrain, recipe.finetune
    if isinstance(pretrain, PretrainFromData):
        found.append(Training("pretrain", pretrain.model.family, pretrain, lambda: build(pretrain.model, facts)))
    if isinstance(finetune, TrainFromLabels):
        found.append(Training("finetune", finetune.model.family, finetune, lambda: build(finetune.model, facts)))
    if isinstance(finetune, Adapt):
        network = classifier(root, name, recipe, facts, work)
        found.append(Training("finetune", "encoder", finetune, lambda: restricted(network(), finetune)))
        if finetune.control:
            control = finetune.model_copy(update={"way": Full(name="full", freeze=())})
            found.append(Training("finetune, control", "encoder", control, network))
    if not found:
        raise InputError(f"recipe '{name}' trains nothing: pretrain.mode and finetune.mode are no trainings")
    return found


def restricted(model: EncoderClassifier, params: Adapt) -> EncoderClassifier:
    """Return the model with no weights trained but those that the recipe's way trains."""
    restrict(model, params.way)
    return model


def classifier(root: Path, name: str, recipe: Recipe, facts: Facts, work: Path) -> Callable[[], EncoderClassifier]:
    """Return a function that makes the classifier that finetune adapts; raise InputError where its encoder's
    config.json is not here yet."""
    params, pretrain = recipe.finetune, recipe.pretrain
    assert isinstance(params, Adapt)
    labels = [str(number) for number in range(facts.num_labels)]
    if isinstance(pretrain, PretrainFromData):
        settings = pretrain.model
        if not isinstance(settings, EncoderSettings):
            raise InputError(
                f"finetune.mode 'adapt' adapts an encoder, but pretrain.model.family is '{settings.family}'; set it to "
                "'encoder'"
            )
        return lambda: classifier_of(config_of(settings, facts), labels=labels, dropout=params.dropout)
    folder = Layout(root, name, "pretrain").artifact / "model"
    if not (folder / CONFIG).is_file():
        assert isinstance(pretrain, Load)
        folder = here(pretrain.source, root, work / "encoder")
    if folder is None and (shape := known_shape(pretrain.source if isinstance(pretrain, Load) else None)):
        config = AutoConfig.for_model(**shape)
        return lambda: classifier_of(copy.deepcopy(config), labels=labels, dropout=params.dropout)
    if folder is None or not (folder / CONFIG).is_file():
        raise InputError(
            f"the shape of the encoder that pretrain.source names is not known here yet: its {CONFIG} comes with the "
            f"download. 'modelyard run {name} --until pretrain' fetches it"
        )
    return lambda: classifier_from_encoder(folder, labels=labels, dropout=params.dropout, pretrained=False)


def facts_of(root: Path, name: str, recipe: Recipe, work: Path) -> Facts:
    """Return the sizes that the networks take from the data, as preprocess left them, or else as the config gives them;
    raise InputError where neither does."""
    predictor = Layout(root, name, "preprocess").artifact / "predictor"
    left = read_facts(predictor) if (predictor / PREDICTOR).is_file() else None
    if left and not outdated(root, name, recipe):
        return left
    data, labels = recipe.preprocess, recipe.validate.contract.labels or ()
    if isinstance(data, ArrayData):
        return Facts(num_labels=len(labels), shape=data.shape)
    if not isinstance(data, TextClassificationData | TextGenerationData):
        raise InputError(
            f"the sizes of a model of {recipe.task} are not known here yet; 'modelyard run {name} --until preprocess' "
            "leaves them"
        )
    context = data.context if isinstance(data, TextGenerationData) else data.max_tokens
    if isinstance(data.tokenizer, TrainedTokenizer):
        return Facts(num_labels=len(labels), vocab_size=data.tokenizer.vocab_size, context=context)
    folder = here(data.tokenizer, root, work / "tokenizer")
    if folder is None and left and left.vocab_size:
        return Facts(num_labels=len(labels), vocab_size=left.vocab_size, context=context)
    if folder is None and (shape := known_shape(data.tokenizer)):
        return Facts(num_labels=len(labels), vocab_size=shape["vocab_size"], context=context)
    if folder is None or not (folder / TOKENIZER).is_file():
        raise InputError(
            f"the size of the vocabulary is not known here yet: {TOKENIZER} comes with the download of "
            f"preprocess.tokenizer. 'modelyard run {name} --until preprocess' fetches it"
        )
    size = Tokens.from_file(str(folder / TOKENIZER)).get_vocab_size()
    return Facts(num_labels=len(labels), vocab_size=size, context=context)
