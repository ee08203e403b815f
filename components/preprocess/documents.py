"""Whole documents, cleaned with their paragraphs kept, and encoded as tokens that spell every character."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import MAX_EXAMPLES, InputError, examples
from components.preprocess.tokens import load_vocabulary
from serving.predictors.text import clean_lines

END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
GROUP_ROWS = 256
SHOWN_CHARACTERS = 20

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("text", pa.large_string()),
        pa.field("input_ids", pa.large_list(pa.int32())),
        pa.field("num_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that neither truncates nor pads, and spells the name of a special token like other text."""

    tokenizer: Tokenizer
    end_of_text_id: int
    pad_token_id: int
    unknown_id: int | None
    """The id of the unknown token; None where every text can be spelled."""

    @property
    def size(self) -> int:
        return self.tokenizer.get_vocab_size()


@dataclass(frozen=True)
class Encoded:
    """The tokens of some documents."""

    input_ids: list[NDArray[np.int32]]
    """The token ids of each document, which end with the end-of-text token."""
    num_unknown: int
    unknown_texts: list[str]
    """A few documents with unknown tokens."""

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.input_ids))


def clean_document(text: str, *, unicode: Literal["NFC", "NFKC"]) -> str:
    """Return the text in one Unicode form, without control characters, with at most one blank line between paragraphs.

    Cleaning a clean text changes nothing.
    """
    return clean_lines(text, unicode=unicode).strip()


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the folder's tokenizer.json.

    Raises SourceError where it is broken, and InputError where it has no token that ends a text.
    """
    loaded = load_vocabulary(folder, max_tokens=1)
    tokenizer = loaded.tokenizer
    tokenizer.no_truncation()
    found = [number for token in END_TOKENS if (number := tokenizer.token_to_id(token)) is not None]
    if not found:
        raise InputError(
            f"{TOKENIZER} has no token that ends a text ({', '.join(END_TOKENS)}); choose the tokenizer of a model "
            "that generates text, or train one: preprocess.tokenizer.algorithm 'bpe'"
        )
    return Vocabulary(tokenizer, found[0], loaded.pad_token_id, loaded.unknown_id)


def encode(texts: Sequence[str], vocabulary: Vocabulary) -> Encoded:
    """Encode each document; raise InputError where decoding the tokens does not give the text back."""
    input_ids: list[NDArray[np.int32]] = []
    unknown: list[str] = []
    num_unknown = 0
    for text in texts:
        ids = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
        num = ids.count(vocabulary.unknown_id) if vocabulary.unknown_id is not None else 0
        if num:
            num_unknown += num
            unknown.append(text)
        else:
            check_spelling(text, vocabulary.tokenizer.decode(ids, skip_special_tokens=False))
        input_ids.append(np.array([*ids, vocabulary.end_of_text_id], np.int32))
    return Encoded(input_ids, num_unknown, unknown[:MAX_EXAMPLES])


def check_spelling(text: str, spelled: str) -> None:
    """Raise InputError where the tokens decode to another text, since bits per byte would then mean nothing."""
    if text == spelled:
        return
    place = next((i for i, pair in enumerate(zip(text, spelled, strict=False)) if pair[0] != pair[1]), len(spelled))
    start = max(0, place - SHOWN_CHARACTERS)
    pair = (part[start : place + SHOWN_CHARACTERS] for part in (text, spelled))
    raise InputError(
        f"the tokenizer does not give a document back as it was: {examples(pair)}; take one that keeps case and "
        "spaces, such as preprocess.tokenizer.algorithm 'bpe' with lowercase false"
    )


def write_documents(path: Path, rows: pa.Table, encoded: Encoded) -> None:
    """Write a split: its rows (`row`, `text`) with their token ids and their size as UTF-8 in bytes."""
    ends = np.cumsum([0, *map(len, encoded.input_ids)])
    flat = np.concatenate([np.zeros(0, np.int32), *encoded.input_ids])
    texts: list[str] = rows["text"].to_pylist()
    table = pa.table(
        {
            "row": rows["row"],
            "text": rows["text"],
            "input_ids": pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(flat)),
            "num_bytes": [len(text.encode()) for text in texts],
        }
    )
    pq.write_table(table.cast(SCHEMA), path, compression="zstd", row_group_size=GROUP_ROWS)
