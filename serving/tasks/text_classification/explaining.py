"""Which words of a text moved its label's score: the model is asked again without each of them."""

from serving.predictors.explaining import ExplainedText, Weighed, leave_one_out

__all__ = ["ExplainedText", "Weighed", "leave_one_out"]
