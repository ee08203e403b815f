"""The sections of a recipe that classifies texts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.judging import ClassifierFigures
from components.params.section import Positive, Section, Share
from components.params.task import TaskData, TaskSections, TaskServing
from components.params.texts import NearDuplicates, Tokenizer


class TextClassificationData(TaskData):
    """The section preprocess: rows of a text and its label."""

    task: Literal["text_classification"]
    unicode: Literal["NFC", "NFKC"]
    mask: tuple[Literal["email", "phone", "card", "iban", "ip", "url"], ...]
    """The kinds of personal details to replace by their name in brackets."""
    conflicts: Literal["remove", "majority"]
    """The treatment of a text that carries two labels: it is removed, or given the label of the majority."""
    near_duplicates: NearDuplicates
    slice: str | None = None
    """The column whose values the report tells apart (a domain, a region); null for none."""
    tokenizer: Tokenizer
    """The source of the folder that holds tokenizer.json, or the settings to train one."""
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    """The most tokens of one text; a longer text is cut."""
    max_unknown_share: Share
    """The largest share of tokens that the tokenizer does not know."""


class Baseline(Section):
    """The baseline of TF-IDF and logistic regression."""

    analyzer: Literal["word", "char", "char_wb"]
    ngrams: tuple[Positive, Positive]
    """The lengths of the n-grams, from the shortest to the longest."""
    C: Annotated[float, Field(gt=0)]
    """The inverse strength of the regularisation."""

    @model_validator(mode="after")
    def _rising(self) -> "Baseline":
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {list(self.ngrams)} go from the shortest to the longest length")
        return self


class TextClassificationFigures(ClassifierFigures):
    task: Literal["text_classification"]
    baseline: Baseline


class TextClassificationServing(TaskServing):
    """The limits of POST /classify, which takes texts."""

    task: Literal["text_classification"]
    max_texts: Positive
    """The most texts in one request."""
    max_text_length: Positive
    """The most characters of one text in a request."""
    max_body_bytes: Positive
    """The most bytes of a request's body."""


SECTIONS = TaskSections(
    preprocess=TextClassificationData,
    evaluate=TextClassificationFigures,
    serving=TextClassificationServing,
    finetuning=("adapt", "train"),
    objectives=("classification", "masked"),
    can_load=True,
    gives_labels=True,
)
