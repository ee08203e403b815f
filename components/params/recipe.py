"""A recipe of params.yaml: one section for each stage, and optional sections about its model after the stages."""

from collections.abc import Iterator

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from components.params.arrays import ArrayData
from components.params.behaviour import Behaviour
from components.params.compress import Compress
from components.params.devices import GivenDevices
from components.params.finetune import Adapt, Finetune, NoFinetuning, TrainFromLabels
from components.params.ingest import Ingest
from components.params.monitoring import Monitoring
from components.params.notify import Notify
from components.params.package import Package
from components.params.pretrain import Load, NoPretraining, Pretrain, PretrainFromData
from components.params.promotion import Promotion
from components.params.schedule import RunSchedule
from components.params.section import Positive
from components.params.service import Canary, Service
from components.params.sweep import Sweep
from components.params.tasks import SECTIONS, Evaluate, Preprocess
from components.params.tasks.text_generation import TextGenerationData, TextGenerationServing
from components.params.validate import Validate
from components.plumbing.errors import did_you_mean, examples

TOP = {
    "task": (("preprocess", "task"), ("evaluate", "task"), ("package", "serving", "task")),
    "family": (("pretrain", "model", "family"), ("finetune", "model", "family")),
    "objective": (("pretrain", "objective", "name"),),
    "threads": (("compress", "threads"), ("package", "serving", "threads")),
}
"""The keys that a recipe gives once, at its top, and for each the places that the typed sections have them in."""

LABELS = "classification"
"""The objective that learns from the labels of rows alone."""

NO_CHAMPION = "components/champion.py"
"""The value of a recipe's `champion` where neither its weights nor its tokenizer come from the champion."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """One model, from its source to its bundle: its kind, then the stages, which dvc.yaml joins.

    The sections after the stages belong to no stage, and are None where they are not wanted. Construction raises
    pydantic's ValidationError where sections contradict each other.
    """

    task: str
    """The task of the model; components/tasks has a folder for each task."""
    family: str
    """The family of the network; components/models has a folder for each family."""
    objective: str
    """The objective that the model learns first; `classification` learns from the labels alone."""
    threads: Positive
    """The number of rows (or requests) computed at once by the service, and by compress while it measures."""
    ingest: Ingest
    validate: Validate
    preprocess: Preprocess
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    compress: Compress
    package: Package
    devices: GivenDevices = None
    """The devices on which the trainings run together; null takes one, or as many as a launcher (torchrun, accelerate
    launch) started. A batch is the same on any number of them, so this is no part of what a stage is known by."""
    champion: str | None = None
    """The file whose change makes preprocess and the trainings run again: `NO_CHAMPION`, or the recipe's champion.json
    where a source or the tokenizer is `champion`. dvc.yaml needs a path here, so a recipe must have one."""
    monitoring: Monitoring | None = None
    promotion: Promotion | None = None
    schedule: RunSchedule | None = None
    serve: bool | None = None
    """True where `modelyard up` serves the recipe, by the settings of `service`."""
    service: Service | None = None
    sweep: Sweep | None = None
    """The settings that `modelyard sweep` searches for better values."""
    notify: Notify | None = None
    """The targets that are told of events of the recipe, in place of the project's `notify`; `{}` tells nobody."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        for look in (
            faults_of_task, faults_of_training, faults_of_serving, faults_of_promotion, faults_of_service,
            faults_of_monitoring, faults_of_judging, faults_of_behaviour,
        ):  # fmt: skip
            for fault in look(self):
                raise ValueError(fault)
        return self


def faults_of_task(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each setting that does not fit the recipe's task."""
    task, sections, pretrain = recipe.task, SECTIONS[recipe.task], recipe.pretrain
    if recipe.finetune.mode not in sections.finetuning:
        yield f"finetune.mode is '{recipe.finetune.mode}', but for {task} it is one of {list(sections.finetuning)}"
    if recipe.objective not in sections.objectives:
        yield f"objective is '{recipe.objective}', but for {task} it is one of {list(sections.objectives)}"
    elif recipe.objective != LABELS and not isinstance(pretrain, PretrainFromData):
        yield f"objective is '{recipe.objective}', which pretrain.mode 'train' learns, but it is '{pretrain.mode}'"
    if isinstance(pretrain, Load) and not sections.can_load:
        yield f"pretrain.mode is 'load', which takes an encoder of texts, but task is '{task}'"
    if recipe.preprocess.split.column is not None and not sections.gives_labels:
        yield f"preprocess.split.column is for classifiers, but task is '{task}'; leave it out"
    if recipe.validate.contract.max_unlabelled_share is not None and not sections.can_load:
        yield f"max_unlabelled_share is for texts to pretrain on, but task is '{task}', which uses none"


def faults_of_judging(recipe: Recipe) -> Iterator[str]:
    """Yield a message for explanations of arrays that have no patches."""
    if isinstance(recipe.preprocess, ArrayData) and getattr(recipe.evaluate, "explain", None) is not None:
        if not is_of_images(recipe.preprocess):
            yield (
                f"evaluate.explain shows which patches of an image mattered, but preprocess.shape is "
                f"{list(recipe.preprocess.shape)}, which is no image's; set it to null"
            )


def faults_of_monitoring(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each label that is expected of the traffic and that the model does not know."""
    expected = recipe.monitoring.expected_labels if recipe.monitoring is not None else None
    if expected is None:
        return
    if not SECTIONS[recipe.task].gives_labels:
        yield f"monitoring.expected_labels is for classifiers, but task is '{recipe.task}'; leave it out"
        return
    known = recipe.validate.contract.labels or ()
    foreign = [label for label in expected if label not in known]
    if foreign:
        yield f"monitoring.expected_labels has '{foreign[0]}', which is none of validate.contract.labels"


def faults_of_behaviour(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each label that a check of behaviour is about and that the model does not know."""
    behaviour = getattr(recipe.evaluate, "behaviour", None)
    known = recipe.validate.contract.labels
    if not isinstance(behaviour, Behaviour) or known is None:
        return
    for label, check in behaviour.wanted_labels().items():
        if label not in known:
            yield (
                f"evaluate.behaviour: the check '{check}' is about the label '{label}', which is none of "
                f"validate.contract.labels{did_you_mean(label, known)}: {examples(known)}"
            )


def faults_of_training(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each clash between pretrain and finetune, and for each training setting without effect."""
    pretrain, finetune = recipe.pretrain, recipe.finetune
    loaded = isinstance(pretrain, Load) or isinstance(finetune, Adapt)
    if loaded and recipe.family != "encoder":
        yield f"family is '{recipe.family}', but only an encoder's weights are loaded and adapted; write 'encoder'"
    if isinstance(finetune, Adapt) and isinstance(pretrain, NoPretraining):
        yield "finetune.mode is 'adapt', which adapts a pretrained model, but pretrain.mode is 'none'"
    if isinstance(finetune, NoFinetuning) and not isinstance(pretrain, PretrainFromData):
        yield "finetune.mode is 'none', so pretrain.mode must be 'train': nothing else makes the model"
    if isinstance(finetune, TrainFromLabels) and not isinstance(pretrain, NoPretraining):
        yield "finetune.mode is 'train', which makes a model of its own; pretrain.mode must be 'none'"
    if isinstance(finetune, TrainFromLabels) and finetune.augment and not is_of_images(recipe.preprocess):
        yield "finetune.augment moves images, but preprocess makes none; set it to null"
    if isinstance(pretrain, PretrainFromData) and pretrain.early_stopping:
        if pretrain.objective.name == "adversarial":
            yield "pretrain.early_stopping must be null: the loss of a GAN does not tell how good its samples are"
        if pretrain.early_stopping.metric != "loss":
            yield f"pretrain.early_stopping.metric is '{pretrain.early_stopping.metric}'; without labels it is 'loss'"


def faults_of_serving(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each limit of the service that the model could not keep."""
    preprocess, serving = recipe.preprocess, recipe.package.serving
    if isinstance(preprocess, TextGenerationData) and isinstance(serving, TextGenerationServing):
        most = preprocess.context - 1
        if serving.max_prompt_tokens > most:
            yield (
                f"package.serving.max_prompt_tokens is {serving.max_prompt_tokens}, but a model with "
                f"preprocess.context {preprocess.context} reads {most} and one more to write"
            )


def faults_of_promotion(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each gate that could not be judged, and for retraining without the section promotion."""
    task, promotion = recipe.task, recipe.promotion
    if recipe.schedule is not None and promotion is None:
        yield "schedule trains again and promotes what is better, which the section promotion tells; add it"
    if recipe.monitoring is not None and recipe.monitoring.retrain and promotion is None:
        yield "monitoring.retrain trains again and promotes what is better, which the section promotion tells; add it"
    if recipe.monitoring is not None and recipe.monitoring.retrain == "sweep" and recipe.sweep is None:
        yield "monitoring.retrain is 'sweep', which searches by the section sweep; add it"
    indifference = promotion.indifference if promotion is not None else None
    if promotion is not None and indifference is not None and indifference > promotion.max_drop:
        yield (
            f"promotion.indifference is {indifference:g}, above max_drop {promotion.max_drop:g}, so it has no effect; "
            "lower it, or leave it out"
        )
    slices = promotion.slices if promotion is not None else None
    if slices is None:
        return
    if not SECTIONS[task].gives_labels:
        yield f"promotion.slices is for classifiers, but task is '{task}'; set it to null"
    elif "slice" in slices.by and getattr(recipe.preprocess, "slice", None) is None:
        yield "promotion.slices.by has 'slice', but preprocess.slice names no column; name one, or leave it out"


def faults_of_service(recipe: Recipe) -> Iterator[str]:
    """Yield a message for each setting that `modelyard up` could not follow."""
    if recipe.serve and recipe.service is None:
        yield (
            "serve is true, but there is no section 'service', which says on which port and how; add "
            "service: {port: 3000, traffic: hash, drain_timeout_s: 60, canary: {mode: none}}"
        )
    canary = recipe.service.canary if recipe.service else None
    is_tried = recipe.serve is True and isinstance(canary, Canary)
    if recipe.promotion is not None and recipe.promotion.then == "trial" and not is_tried:
        yield (
            "promotion.then is 'trial', but nothing tries a challenger; set serve to true and service.canary.mode to "
            "'shadow' or 'canary', or promotion.then to 'promote'"
        )
    if isinstance(canary, Canary):
        has_labels = SECTIONS[recipe.task].gives_labels
        if has_labels and canary.min_agreement is None:
            yield "service.canary.min_agreement is null, but the answers have labels to compare; give a share"
        if not has_labels and canary.min_agreement is not None:
            yield (
                f"service.canary.min_agreement is {canary.min_agreement:g}, but answers of {recipe.task} "
                "have no labels to compare; set it to null"
            )


def is_of_images(preprocess: Preprocess) -> bool:
    """Return whether the rows are images: arrays with a height and a width."""
    return isinstance(preprocess, ArrayData) and len(preprocess.shape) == 2


def champion_file(name: str) -> str:
    """Return the path, relative to the project, of the file that holds the digest of the champion's weights.

    Stages that start from the champion depend on it.
    """
    return f"artifacts/{name}/champion.json"


def fault_of_champion(name: str, recipe: Recipe) -> str | None:
    """Return a message where a recipe's `champion`, the path that DVC watches, is wrong; else None."""
    users = [
        where
        for where, source in (
            ("preprocess.tokenizer", getattr(recipe.preprocess, "tokenizer", None)),
            ("pretrain.source", getattr(recipe.pretrain, "source", None)),
            ("finetune.source", getattr(recipe.finetune, "source", None)),
        )
        if source == "champion"
    ]
    wanted = champion_file(name) if users else NO_CHAMPION
    if recipe.champion == wanted:
        return None
    why = f"{users[0]} is 'champion'" if users else "neither a source nor the tokenizer is 'champion'"
    return f"champion is {recipe.champion!r}, but {why}; write 'champion: {wanted}'"
