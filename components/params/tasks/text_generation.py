"""What a recipe that writes texts may say."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.judging import Bootstrap
from components.params.section import Positive, Section, Share
from components.params.task import TaskData, TaskFigures, TaskSections, TaskServing
from components.params.texts import NearDuplicates, Tokenizer


class TextGenerationData(TaskData):
    """Rows of a text, each a whole document."""

    task: Literal["text_generation"]
    unicode: Literal["NFC", "NFKC"]
    near_duplicates: NearDuplicates
    tokenizer: Tokenizer
    context: Annotated[int, Field(ge=8, le=8192)]
    """Tokens that the model sees at once."""
    max_unknown_share: Share
    """Of tokens that the tokenizer does not know."""


class Samples(Section):
    """Texts that the model writes for the report."""

    num_samples: Positive
    max_tokens: Positive
    """Of each."""
    temperature: Annotated[float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=0)]
    """The likeliest tokens that are drawn from; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """The least number of likeliest tokens whose probabilities sum to this are drawn from."""
    seed: Annotated[int, Field(ge=0)]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Taken in turn."""


class LanguageGate(Section):
    max_bits_per_byte: float | None
    """The bar on the test split; null for none."""
    min_gain: float
    """Bits per byte below each of the baselines named in `beat`, at the lower end of the interval."""
    beat: tuple[Literal["xz", "byte_ngram", "token_ngram"], ...]


class TextGenerationFigures(TaskFigures):
    task: Literal["text_generation"]
    bootstrap: Bootstrap
    order: Annotated[int, Field(ge=2, le=8)]
    """Of the n-gram baselines (interpolated modified Kneser-Ney)."""
    gate: LanguageGate
    samples: Samples


class TextGenerationServing(TaskServing):
    """POST /generate."""

    task: Literal["text_generation"]
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    """Of one answer."""


SECTIONS = TaskSections(
    preprocess=TextGenerationData,
    evaluate=TextGenerationFigures,
    serving=TextGenerationServing,
    finetuning=("none",),
    objectives=("causal",),
)
