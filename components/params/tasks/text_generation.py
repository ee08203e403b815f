"""The sections of a recipe that generates texts."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.explain import Explain
from components.params.judging import Bootstrap
from components.params.section import Positive, Section, Share
from components.params.task import TaskData, TaskFigures, TaskSections, TaskServing
from components.params.texts import NearDuplicates, Tokenizer


class TextGenerationData(TaskData):
    """The section preprocess: rows that are each a whole document of text."""

    task: Literal["text_generation"]
    unicode: Literal["NFC", "NFKC"]
    near_duplicates: NearDuplicates
    tokenizer: Tokenizer
    context: Annotated[int, Field(ge=8, le=8192)]
    """The number of tokens that the model sees at once."""
    max_unknown_share: Share
    """The largest share of tokens that the tokenizer does not know."""


class Samples(Section):
    """The settings of the texts that the model writes for the report."""

    num_samples: Positive
    max_tokens: Positive
    """The most tokens of each text."""
    temperature: Annotated[float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=0)]
    """The number of likeliest tokens that are drawn from; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """The probability that the likeliest tokens must reach together; only the fewest that reach it are drawn from."""
    seed: Annotated[int, Field(ge=0)]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """The prompts that the texts begin with, taken in turn."""


class LanguageGate(Section):
    max_bits_per_byte: float | None
    """The most bits per byte on the test split; null for none."""
    min_gain: float
    """The least gain in bits per byte over each baseline in `beat`, at the lower end of the bootstrap interval."""
    beat: tuple[Literal["xz", "byte_ngram", "token_ngram"], ...]


class TextGenerationFigures(TaskFigures):
    task: Literal["text_generation"]
    bootstrap: Bootstrap
    order: Annotated[int, Field(ge=2, le=8)]
    """The order of the n-gram baselines (interpolated modified Kneser-Ney)."""
    gate: LanguageGate
    samples: Samples
    explain: Explain | None = None
    """The explanation of what the model writes after the beginnings of a sample of the test documents, with figures
    that say whether to believe it; null for none."""


class TextGenerationServing(TaskServing):
    """The limits of POST /generate."""

    task: Literal["text_generation"]
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    """The most tokens of one answer."""


SECTIONS = TaskSections(
    preprocess=TextGenerationData,
    evaluate=TextGenerationFigures,
    serving=TextGenerationServing,
    finetuning=("none",),
    objectives=("causal",),
)
