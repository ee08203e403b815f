"""The settings that the sections of every task have, and the sections that make a task's recipe whole."""

from dataclasses import dataclass
from typing import Any

from components.params.section import Positive, Section
from components.params.split import Split


class TaskData(Section):
    """The section preprocess of a task."""

    task: Any
    """The name of the task; each class allows its own alone. A recipe says it once, at its top."""
    split: Split


class TaskFigures(Section):
    """The section evaluate of a task."""

    task: Any


class TaskServing(Section):
    """The section package.serving of a task: the limits of its service."""

    task: Any
    threads: Positive
    """The number of rows computed at once, or of requests where one keeps a core busy. A recipe
    says it once, at its top."""
    max_requests: Positive
    """The most requests that are read, waiting or computed at once; one more is turned away with 503."""
    max_read_ms: Positive
    """The most milliseconds for the whole of a request to arrive."""
    max_latency_ms: Positive
    """The most milliseconds that a request may wait for its answer (for its first word, where answers are streamed);
    one that would wait longer is turned away with 503."""


@dataclass(frozen=True)
class TaskSections:
    """The sections of a task's recipe, and the modes and objectives that it may name."""

    preprocess: type[TaskData]
    evaluate: type[TaskFigures]
    serving: type[TaskServing]
    finetuning: tuple[str, ...]
    """The modes of finetune that make a model for the task."""
    objectives: tuple[str, ...]
    """The objectives that a model of the task may first learn; `classification` learns from labels alone."""
    can_load: bool = False
    """Whether an existing model can be the start (pretrain.mode `load`), and rows without labels be learned from."""
    gives_labels: bool = False
    """Whether the answers are labels, which can be compared one by one and by slices of the rows."""
