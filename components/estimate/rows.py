"""Made-up rows of the right sizes, laid out as preprocess lays out its own.

An objective can be prepared on them as on a recipe's rows, before there are any; so the objective itself determines the
cost of a training, and not a second description of it.
"""

import shutil
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from components.models.facts import Facts
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, read_json, write_json
from components.training.objective import Data
from components.training.splits import Lists, Split, read_split, write_split

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>")


@dataclass(frozen=True)
class Counts:
    """The numbers of rows of a recipe's splits, and the length of their texts."""

    num_train: int
    num_validation: int
    num_unlabelled: int
    length: int
    """The tokens of the longest text that is read; 0 where there are no texts."""
    lengths: tuple[int, ...] = ()
    """The tokens of each of a sample of the texts, which the made-up rows then have in turn; empty for texts that are
    all of the longest length."""

    @property
    def mean_length(self) -> float:
        return sum(self.lengths) / len(self.lengths) if self.lengths else self.length


def write_predictor(folder: Path, task: str, facts: Facts) -> None:
    """Write a `predictor/` as preprocess would leave it, with a tokenizer of made-up words."""
    folder.mkdir(parents=True)
    told: dict[str, object] = {"task": task, "labels": [str(n) for n in range(facts.num_labels)]}
    if facts.shape:
        write_json(folder / PREDICTOR, told | {"shape": list(facts.shape), "offset": 0.0, "scale": 1.0})
        return
    sizes = {"vocab_size": facts.vocab_size, "pad_token_id": facts.pad_token_id, "end_of_text_id": 0}
    write_json(folder / PREDICTOR, told | sizes | {"context": facts.context})
    words = [*SPECIAL, *(f"w{n}" for n in range(facts.vocab_size))][: facts.vocab_size]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([word for word in SPECIAL if word in words])
    tokenizer.save(str(folder / TOKENIZER))


def write_rows(folder: Path, facts: Facts, counts: Counts, *, predictor: Path) -> Data:
    """Write the splits with made-up rows, beside a copy of `predictor`."""
    folder.mkdir(parents=True, exist_ok=True)
    if predictor != folder / "predictor":
        shutil.copytree(predictor, folder / "predictor")
    told = read_json(predictor / PREDICTOR)
    sizes = {"train": counts.num_train, "validation": counts.num_validation, "unlabelled": counts.num_unlabelled}
    for name, num_rows in sizes.items():
        number = np.arange(num_rows)
        numbers: dict[str, np.ndarray] = {"row": number}
        columns: dict[str, Lists] = {}
        if facts.num_labels:
            numbers["label_id"] = (number % facts.num_labels).astype(np.int32)
        if facts.shape:
            columns["values"] = lists(np.full(num_rows * prod(facts.shape), told["offset"], np.float32), num_rows)
        else:
            lengths = np.resize(counts.lengths or [counts.length], num_rows).astype(np.int32)
            ids = np.arange(lengths.sum(), dtype=np.int32) % max(1, facts.vocab_size - len(SPECIAL))
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            columns["input_ids"] = Lists(ids + min(len(SPECIAL), facts.vocab_size - 1), offsets)
            numbers["num_bytes"] = 4 * lengths
        write_split(folder / f"{name}.safetensors", Split(numbers, columns))
    paths = (folder / f"{name}.safetensors" for name in sizes)
    return Data(*paths, predictor=folder / "predictor")


def lists(numbers: np.ndarray, num_rows: int) -> Lists:
    """Cut numbers into `num_rows` lists of one length."""
    length = len(numbers) // num_rows if num_rows else 0
    return Lists(numbers, np.arange(num_rows + 1, dtype=np.int32) * length)


def text_lengths(path: Path) -> np.ndarray:
    """Return the number of tokens of each text of a split, (N,)."""
    return read_split(path, ["input_ids"]).lists["input_ids"].lengths
