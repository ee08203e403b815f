"""The task array_classification: arrays of numbers, such as images, get one of a few labels, with a score for each."""

from typing import TYPE_CHECKING, Any

from components.tasks.task import Task

if TYPE_CHECKING:
    from components.comparison.duel import Duel, HeldOut
    from components.compress import Inputs as CompressInputs
    from components.compress.trial import CompressionTrial
    from components.evaluate import Inputs as EvaluateInputs
    from components.evaluate import Outputs as EvaluateOutputs
    from components.evaluate.stage import Judgement
    from components.monitoring.inputs import MonitoredInputs
    from components.preprocess import Inputs as PreprocessInputs
    from components.preprocess import Outputs as PreprocessOutputs
    from components.summary import Summary
    from components.tracking.tracker import Tracker


class ArrayClassification(Task):
    """The classification of arrays of numbers, such as images, with a score for each of a few labels."""

    def preprocess(
        self, params: Any, inputs: "PreprocessInputs", outputs: "PreprocessOutputs", *, tracker: "Tracker"
    ) -> Any:
        from components.tasks.array_classification.preprocess import run

        return run(params, inputs, outputs, tracker=tracker)

    def evaluate(
        self, params: Any, inputs: "EvaluateInputs", outputs: "EvaluateOutputs", *, tracker: "Tracker"
    ) -> "Judgement":
        from components.tasks.array_classification.evaluate.report import measure

        return measure(params, inputs, outputs, tracker=tracker)

    def compress(self, inputs: "CompressInputs") -> "CompressionTrial[Any]":
        from components.tasks.array_classification.compress import make_trial

        return make_trial(inputs)

    def drop(self, float_quality: float, quality: float) -> float:
        return float_quality - quality

    def promotion_metric(self, params: Any) -> str:
        return params.gate.metric

    def duel(self, data: "HeldOut", *, metric: str) -> "Duel[Any]":
        from components.tasks.array_classification.duel import make_duel

        return make_duel(data, metric=metric)

    def monitored(self) -> "MonitoredInputs | None":
        from components.monitoring.arrays import ArrayInputs

        return ArrayInputs()

    def summary(self) -> "Summary":
        from components.summary import CLASSIFIER

        return CLASSIFIER
