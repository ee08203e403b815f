"""The sections of a recipe that classifies texts."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components.params.behaviour import Behaviour
from components.params.explain import ExplainTexts
from components.params.judging import ClassifierFigures, FindTextSlices
from components.params.section import Positive, Section, Share
from components.params.task import TaskData, TaskSections, TaskServing
from components.params.texts import NearDuplicates, Tokenizer


class TextClassificationData(TaskData):
    """The section preprocess: rows of a text and its label."""

    task: Literal["text_classification"]
    unicode: Literal["NFC", "NFKC"]
    mask: tuple[Literal["email", "phone", "card", "iban", "ip", "url"], ...]
    """The kinds of personal details to replace by their name in brackets."""
    emoji: Literal["names"] | None = None
    """`names` reads an emoji as the words that Unicode names it by, for an encoder that knows none; null reads it as it
    stands."""
    conflicts: Literal["remove", "majority"]
    """The treatment of a text that carries two labels: it is removed, or given the label of the majority."""
    near_duplicates: NearDuplicates
    slice: str | None = None
    """The column whose values the report tells apart (a domain, a region); null for none."""
    tokenizer: Tokenizer
    """The source of the folder that holds tokenizer.json, or the settings to train one."""
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    """The most tokens of one text; a longer text is cut."""
    truncate: Literal["head", "tail", "head_tail"] = "head"
    """The part that is read of a longer text: its beginning, its end, or half of `max_tokens` of each."""
    max_unknown_share: Share
    """The largest share of tokens that the tokenizer does not know."""


PROPOSED_BASELINE = "{folds: 3, choice_rows: 5000, max_rows: 50000, seed: 0}"
BEFORE = frozenset(("analyzer", "ngrams", "C"))
"""What a recipe said of its baseline when it was one fixed classifier."""


class Baseline(Section):
    """The baseline: the best of the cheap linear classifiers on TF-IDF, chosen by cross-validation on the training
    split."""

    folds: Annotated[int, Field(ge=2, le=10)]
    """The number of parts of the rows, of which each is asked of a classifier that was trained on the others."""
    choice_rows: Annotated[int, Field(ge=100)]
    """The most training rows, a seeded sample, on which the choice is made."""
    max_rows: Annotated[int, Field(ge=100)]
    """The most training rows, a seeded sample, that the chosen classifier learns from."""
    seed: Annotated[int, Field(ge=0)]

    @model_validator(mode="before")
    @classmethod
    def _no_fixed_one(cls, given: Any) -> Any:
        if isinstance(given, dict) and given and BEFORE.issuperset(given):
            raise ValueError(
                f"analyzer, ngrams and C are chosen by cross-validation now; write baseline: {PROPOSED_BASELINE}"
            )
        return given


class TextClassificationFigures(ClassifierFigures):
    task: Literal["text_classification"]
    baseline: Baseline
    explain: ExplainTexts | None = None
    """The explanation of a sample of the test split, with figures that say whether to believe it; null for none."""
    behaviour: Behaviour | None = None
    """The checks of what the model does where texts are changed, or are plain; null for none."""
    find_slices: FindTextSlices | None = None
    """How the slices are looked for on which the model is surely worse; null for not at all."""


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
