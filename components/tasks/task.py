"""What a task is: every part that the stages, the gates and the commands ask of it, in one place.

Each method imports its part only when it is called, so that a stage of a recipe loads, and depends on, the code of that
part alone. components/params/tasks says what a recipe of the task may hold, and serving/tasks what its bundle answers.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

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
    """What a model is for. One that lacks a part cannot be made, which the type checker says as well."""

    NAME: ClassVar[str]
    """As a recipe has it at its top."""

    @abstractmethod
    def preprocess(
        self, params: "Preprocess", inputs: "PreprocessInputs", outputs: "PreprocessOutputs", *, tracker: "Tracker"
    ) -> Any:
        """Make of the rows what a model reads; gives the report, a dataclass. InputError and LeakageError."""

    @abstractmethod
    def evaluate(
        self, params: "Evaluate", inputs: "EvaluateInputs", outputs: "EvaluateOutputs", *, tracker: "Tracker"
    ) -> "Judgement":
        """Measure the model on the test split, beside an honest baseline. QualityError where its gate fails."""

    @abstractmethod
    def compress(self, inputs: "CompressInputs") -> "CompressionTrial[Any]":
        """How a compressed model is exported, run and judged. ArtifactError where evaluate judged other rows."""

    @abstractmethod
    def drop(self, float_quality: float, quality: float) -> float:
        """How much worse a quality is than the float model's, in the terms of compress.gate.max_drop; below 0 where it
        is better."""

    @abstractmethod
    def promotion_metric(self, params: "Evaluate") -> str:
        """The name of the figure by which champion and challenger are compared."""

    @abstractmethod
    def duel(self, data: "HeldOut", *, metric: str) -> "Duel[Any]":
        """How champion and challenger are compared on the rows that neither was trained on."""

    @abstractmethod
    def monitored(self) -> "MonitoredInputs | None":
        """How what the service is asked is compared with the training rows; None where that tells nothing."""

    @abstractmethod
    def summary(self) -> "Summary":
        """How the report of evaluate is told in a few rows."""
