"""The task text_generation: a language model writes on from a prompt."""

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


class TextGeneration(Task):
    """The generation of text by a language model, which writes on from a prompt."""

    def preprocess(
        self, params: Any, inputs: "PreprocessInputs", outputs: "PreprocessOutputs", *, tracker: "Tracker"
    ) -> Any:
        from components.tasks.text_generation.preprocess import run

        return run(params, inputs, outputs, tracker=tracker)

    def evaluate(
        self, params: Any, inputs: "EvaluateInputs", outputs: "EvaluateOutputs", *, tracker: "Tracker"
    ) -> "Judgement":
        from components.tasks.text_generation.evaluate.report import measure

        return measure(params, inputs, outputs, tracker=tracker)

    def compress(self, inputs: "CompressInputs") -> "CompressionTrial[Any]":
        from components.tasks.text_generation.compress import make_trial

        return make_trial(inputs)

    def drop(self, float_quality: float, quality: float) -> float:
        return quality - float_quality

    def promotion_metric(self, params: Any) -> str:
        return "bits_per_byte"

    def duel(self, data: "HeldOut", *, metric: str) -> "Duel[Any]":
        from components.tasks.text_generation.duel import make_duel

        return make_duel(data, metric=metric)

    def monitored(self) -> "MonitoredInputs | None":
        return None  # a prompt is not drawn from what the model has read

    def summary(self) -> "Summary":
        from components.tasks.text_generation.summary import SUMMARY

        return SUMMARY
