"""The interface of a task: every part that the stages, the gates and the commands ask of it.

Each method imports its part only when it is called, so that a stage of a recipe loads, and depends on, the code of that
part alone. components/params/tasks says what a recipe of the task may hold, and serving/tasks what its bundle answers.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.comparison.duel import Duel, HeldOut
    from components.compress import Inputs as CompressInputs
    from components.compress.trial import CompressionTrial
    from components.evaluate import Inputs as EvaluateInputs
    from components.evaluate import Outputs as EvaluateOutputs
    from components.evaluate.stage import Judgement
    from components.monitoring.inputs import MonitoredInputs
    from components.params import Evaluate, Preprocess
    from components.preprocess import Inputs as PreprocessInputs
    from components.preprocess import Outputs as PreprocessOutputs
    from components.summary import Summary
    from components.tracking.tracker import Tracker


class Task(ABC):
    """The purpose of a model, with all that is particular to it; a subclass that lacks a part cannot be made."""

    @abstractmethod
    def preprocess(
        self, params: "Preprocess", inputs: "PreprocessInputs", outputs: "PreprocessOutputs", *, tracker: "Tracker"
    ) -> Any:
        """Turn the rows into what a model reads; return the report, a dataclass.

        Raise InputError where the rows do not fit the settings, and LeakageError where the rows of a split come again
        in another one.
        """

    @abstractmethod
    def evaluate(
        self, params: "Evaluate", inputs: "EvaluateInputs", outputs: "EvaluateOutputs", *, tracker: "Tracker"
    ) -> "Judgement":
        """Measure the model on the test split, beside an honest baseline; raise QualityError where its gate fails."""

    @abstractmethod
    def compress(self, inputs: "CompressInputs") -> "CompressionTrial[Any]":
        """Return how a compressed model is exported, run and judged.

        What evaluate left is read by `judge_float` first, which raises ArtifactError where evaluate judged other rows:
        a model can be exported, loaded and timed before it was evaluated.
        """

    @abstractmethod
    def drop(self, float_quality: float, quality: float) -> float:
        """Return how much worse `quality` is than the float model's, in the terms of compress.gate.max_drop.

        The drop is below 0 where `quality` is better.
        """

    @abstractmethod
    def promotion_metric(self, params: "Evaluate") -> str:
        """Return the name of the figure by which champion and challenger are compared."""

    @abstractmethod
    def duel(self, data: "HeldOut", *, metric: str) -> "Duel[Any]":
        """Return how champion and challenger are compared on the rows that neither was trained on."""

    @abstractmethod
    def monitored(self) -> "MonitoredInputs | None":
        """Return how the inputs of the service are compared with the training rows; None where that tells nothing."""

    @abstractmethod
    def summary(self) -> "Summary":
        """Return how the report of evaluate is told in a few rows."""
