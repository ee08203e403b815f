"""Texts as token ids, and the settings of the tokenizer."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from components.champion import champion_tokenizer
from components.estimate.lengths import longest_text
from components.params import FolderSource
from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import InputError
from components.plumbing.progress import progress
from components.preprocess.known_tokenizer import read_tokenizer
from components.preprocess.stage import Inputs, Outputs
from components.sources import fetch_folder
from components.tracking.tracker import Tracker
from serving.predictors.text import Truncate, limit, read_of

PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")
GROUP_ROWS = 16_384
NUM_UNKNOWN_TEXTS = 200
BATCH_ROWS = 512  # the tokenizer keeps a long text's tokens beyond the limit until the batch is done

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("label", pa.string()),
        pa.field("label_id", pa.int32()),
        pa.field("input_ids", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer with the ids of its special tokens."""

    tokenizer: Tokenizer
    """The tokenizer, which truncates at `max_tokens` unless both ends are read, adds its special tokens and does not
    pad; the name of one in a text is spelled like other text."""
    unknown_id: int | None
    """The id of the unknown token; None where every text can be spelled."""
    pad_token_id: int
    max_tokens: int
    truncate: Truncate = "head"


@dataclass(frozen=True)
class Tokens:
    """Counts of the tokens of some texts."""

    lengths: NDArray[np.int64]
    """The number of tokens of each text, special tokens included, (N,)."""
    num_special: int
    """The number of special tokens that the tokenizer adds."""
    num_unknown: int
    unknown_texts: list[str]
    """Some of the texts with unknown tokens."""
    num_truncated: int
    """The number of texts that were truncated at `max_tokens`."""

    @property
    def unknown_share(self) -> float:
        return self.num_unknown / max(int(self.lengths.sum()) - self.num_special, 1)


def fetch_tokenizer(
    source: FolderSource | Literal["champion"], inputs: Inputs, outputs: Outputs, *, check: Callable[[Path], object],
    tracker: Tracker,
) -> None:  # fmt: skip
    """Copy tokenizer.json from the source, or the champion, into the predictor, after `check` has read its folder.

    Raises SourceError where the source cannot be used, InputError where the champion has none, and whatever `check`
    raises.
    """
    work = outputs.work / "tokenizer"
    try:
        if source == "champion":
            folder = champion_tokenizer(tracker, work)
        else:
            folder = fetch_folder(source, root=inputs.project, folder=work)
        check(folder)
        shutil.copyfile(folder / TOKENIZER, outputs.predictor / TOKENIZER)
    finally:
        shutil.rmtree(outputs.work, ignore_errors=True)


def load_vocabulary(folder: Path, *, max_tokens: int, truncate: Truncate = "head") -> Vocabulary:
    """Read the folder's tokenizer.json; raise SourceError where it is missing or broken.

    Raises InputError where the model beside it takes fewer than `max_tokens` tokens.
    """
    path = folder / TOKENIZER
    known = read_tokenizer(path)
    tokenizer = known.tokenizer
    check_length(folder, max_tokens)
    tokenizer.no_padding()
    limit(tokenizer, max_tokens=max_tokens, truncate=truncate)
    tokenizer.encode_special_tokens = True
    raw = json.loads(path.read_text(encoding="utf-8"))
    padding = raw.get("padding") or {}
    pad_ids = [padding.get("pad_id"), *map(tokenizer.token_to_id, PAD_TOKENS)]
    # Without a token for it, any will do: padding is masked.
    pad_token_id = next((i for i in pad_ids if i is not None), 0)
    return Vocabulary(tokenizer, known.unknown_id, pad_token_id, max_tokens, truncate)


def check_length(folder: Path, max_tokens: int) -> None:
    """Raise InputError where the model beside the tokenizer takes fewer than `max_tokens` tokens."""
    config = folder / "config.json"
    if not config.is_file():
        return
    longest = longest_text(json.loads(config.read_text(encoding="utf-8")))
    if longest is not None and max_tokens > longest:
        raise InputError(f"preprocess.max_tokens is {max_tokens}, but the encoder takes {longest}; lower it")


def write_tokenized(path: Path, rows: pa.Table, vocabulary: Vocabulary, *, title: str) -> list[Tokens]:
    """Write a split's rows with their token ids, and return the token counts of each group of rows.

    The rows have the columns `row`, `text`, `label`, `label_id` and perhaps `slice`.
    """
    found: list[Tokens] = []
    schema = SCHEMA if "slice" not in rows.column_names else SCHEMA.append(pa.field("slice", pa.string()))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer, progress(title, total=len(rows)) as bar:
        for start in range(0, len(rows), GROUP_ROWS):
            group = rows.slice(start, GROUP_ROWS)
            texts: list[str] = group["text"].to_pylist()
            ids, ends, num_truncated = encode(texts, vocabulary)
            found.append(count(texts, ids, ends, num_truncated, vocabulary))
            column = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(ids))
            whole = group.append_column("input_ids", column).select(schema.names)
            writer.write_table(whole.cast(schema), row_group_size=GROUP_ROWS)
            bar.update(start + len(group))
    return found


def encode(texts: list[str], vocabulary: Vocabulary) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Return the ids of all texts, the bounds of the texts among them (N + 1,), and the number of truncated texts."""
    ids: list[NDArray[np.int32]] = []
    num_truncated = 0
    for start in range(0, len(texts), BATCH_ROWS):
        for encoding in vocabulary.tokenizer.encode_batch_fast(texts[start : start + BATCH_ROWS]):
            found = read_of(encoding.ids, max_tokens=vocabulary.max_tokens, truncate=vocabulary.truncate)
            ids.append(np.array(found, np.int32))
            num_truncated += bool(encoding.overflowing) or len(found) < len(encoding.ids)
    return np.concatenate(ids), np.cumsum([0, *map(len, ids)]), num_truncated


def count(
    texts: list[str], ids: NDArray[np.int32], ends: NDArray[np.int64], num_truncated: int, vocabulary: Vocabulary
) -> Tokens:
    """Count the tokens that `encode` returned."""
    unknown_at = (ids == vocabulary.unknown_id).nonzero()[0] if vocabulary.unknown_id is not None else ids[:0]
    unknown_rows = np.unique(np.searchsorted(ends, unknown_at, side="right") - 1)
    return Tokens(
        lengths=np.diff(ends),
        num_special=len(texts) * vocabulary.tokenizer.num_special_tokens_to_add(is_pair=False),
        num_unknown=len(unknown_at),
        unknown_texts=[texts[row] for row in unknown_rows[:NUM_UNKNOWN_TEXTS].tolist()],
        num_truncated=num_truncated,
    )


def all_tokens(counts: list[Tokens]) -> Tokens:
    """Add up the counts of several groups."""
    return Tokens(
        lengths=np.concatenate([group.lengths for group in counts]),
        num_special=sum(group.num_special for group in counts),
        num_unknown=sum(group.num_unknown for group in counts),
        unknown_texts=[text for group in counts for text in group.unknown_texts][:NUM_UNKNOWN_TEXTS],
        num_truncated=sum(group.num_truncated for group in counts),
    )
