"""An array of numbers gets one number: how probable the positive one of two labels is."""

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


class ArrayScoring(Task):
    """An array of numbers gets one number: how probable the positive one of two labels is."""

    def preprocess(
        self, params: Any, inputs: "PreprocessInputs", outputs: "PreprocessOutputs", *, tracker: "Tracker"
    ) -> Any:
        from components.tasks.array_scoring.preprocess import run

        return run(params, inputs, outputs, tracker=tracker)

    def evaluate(
        self, params: Any, inputs: "EvaluateInputs", outputs: "EvaluateOutputs", *, tracker: "Tracker"
    ) -> "Judgement":
        from components.tasks.array_scoring.evaluate.report import measure

        return measure(params, inputs, outputs, tracker=tracker)

    def compress(self, inputs: "CompressInputs") -> "CompressionTrial[Any]":
        from components.tasks.array_scoring.compress import make_trial

        return make_trial(inputs)

    def drop(self, float_quality: float, quality: float) -> float:
        return quality - float_quality

    def promotion_metric(self, params: Any) -> str:
        return "brier"

    def duel(self, data: "HeldOut", *, metric: str) -> "Duel[Any]":
        from components.tasks.array_scoring.duel import make_duel

        return make_duel(data, metric=metric)

    def monitored(self) -> "MonitoredInputs | None":
        from components.tasks.array_scoring.monitored import ScoredArrays

        return ScoredArrays()

    def summary(self) -> "Summary":
        from components.tasks.array_scoring.summary import SUMMARY

        return SUMMARY
