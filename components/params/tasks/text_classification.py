"""What a recipe that gives texts their labels may say."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.judging import ClassifierFigures
from components.params.section import Positive, Section, Share
from components.params.task import TaskData, TaskSections, TaskServing
from components.params.texts import NearDuplicates, Tokenizer


class TextClassificationData(TaskData):
    """Rows of a text and its label."""

    task: Literal["text_classification"]
    unicode: Literal["NFC", "NFKC"]
    mask: tuple[Literal["email", "phone", "card", "url"], ...]
    """What is replaced by its name in brackets."""
    conflicts: Literal["remove", "majority"]
    """What happens to a text that carries two labels."""
    near_duplicates: NearDuplicates
    slice: str | None = None
    """A column whose values the report tells apart (a domain, a region)."""
    tokenizer: Tokenizer
    """The folder that holds tokenizer.json, or how to train one."""
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    """Tokens of one text; what is longer is cut."""
    max_unknown_share: Share
    """Of tokens that the tokenizer does not know."""


class Baseline(Section):
    """TF-IDF and logistic regression."""

    analyzer: Literal["word", "char", "char_wb"]
    ngrams: tuple[Positive, Positive]
    """Lengths of the n-grams, from the shortest to the longest."""
    C: Annotated[float, Field(gt=0)]
    """Inverse strength of the regularisation."""

    @model_validator(mode="after")
    def _rising(self) -> "Baseline":
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {list(self.ngrams)} go from the shortest to the longest length")
        return self


class TextClassificationFigures(ClassifierFigures):
    task: Literal["text_classification"]
    baseline: Baseline


class TextClassificationServing(TaskServing):
    """POST /classify: texts."""

    task: Literal["text_classification"]
    max_texts: Positive
    """Of one request."""
    max_text_length: Positive
    """Characters of one text of a request."""
    max_body_bytes: Positive
    """Of one request."""


SECTIONS = TaskSections(
    preprocess=TextClassificationData,
    evaluate=TextClassificationFigures,
    serving=TextClassificationServing,
    finetuning=("adapt", "train"),
    objectives=("classification", "masked"),
    can_load=True,
    gives_labels=True,
)
