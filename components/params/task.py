"""The settings that the sections of every task have, and the list of the sections of one task."""

from dataclasses import dataclass
from typing import Any

from components.params.section import Positive, Section
from components.params.split import Split


class TaskData(Section):
    """The section preprocess of a task."""

    task: Any
    """The name of the task; each subclass allows only its own. A recipe gives it once, at its top."""
    split: Split


class TaskFigures(Section):
    """The section evaluate of a task."""

    task: Any


class TaskServing(Section):
    """The section package.serving of a task: the limits of its service."""

    task: Any
    threads: Positive
    """The number of rows computed at once, or of requests where one request keeps a core busy. A recipe gives it once,
    at its top."""
    max_requests: Positive
    """The most whole requests waiting or computed at once; the next one is turned away with 503."""
    max_read_ms: Positive
    """The most milliseconds that the headers of a request may take to arrive, then its body, and that its answer may
    stay unread."""
    max_latency_ms: Positive
    """The most milliseconds that a request may wait for its answer, or for its first word where answers are streamed;
    one that would wait longer is turned away with 503."""


@dataclass(frozen=True)
class TaskSections:
    """The section classes of a task's recipe, and the modes and objectives that it allows."""

    preprocess: type[TaskData]
    evaluate: type[TaskFigures]
    serving: type[TaskServing]
    finetuning: tuple[str, ...]
    """The modes of finetune that can make a model for the task."""
    objectives: tuple[str, ...]
    """The objectives that a model of the task may learn first; `classification` learns from labels alone."""
    can_load: bool = False
    """True where training may start from an existing model (pretrain.mode `load`) and learn from rows without
    labels."""
    gives_labels: bool = False
    """True where the answers are labels, which can be compared one by one and by slices of the rows."""
