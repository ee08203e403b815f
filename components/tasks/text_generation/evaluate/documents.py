"""The documents of a split, as preprocess left them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError
from serving.tasks.text_generation.predictor import SETTINGS


@dataclass(frozen=True)
class Documents:
    """The N documents of a split."""

    row: NDArray[np.int64]
    """The number of each document in data.parquet, (N,)."""
    texts: Sequence[str]
    input_ids: Sequence[NDArray[np.int32]]
    """The token ids of each document, which end with the end-of-text token."""
    num_bytes: NDArray[np.int64]
    """The size of each text, in bytes of UTF-8, (N,)."""

    @property
    def num_tokens(self) -> NDArray[np.int64]:
        """The number of tokens of each document, (N,)."""
        return np.array([len(ids) for ids in self.input_ids], np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The facts of the vocabulary that the figures need."""

    size: int
    context: int
    end_of_text_id: int


def read_documents(path: Path, *, name: str) -> Documents:
    """Read the documents of a split; raise InputError where there is none."""
    table = pq.read_table(path, columns=["row", "text", "input_ids", "num_bytes"])
    if not len(table):
        raise InputError(f"the {name} split holds no documents; give preprocess more, or change preprocess.split")
    ids = table["input_ids"].combine_chunks()
    flat, ends = ids.flatten().to_numpy(), ids.offsets.to_numpy()
    return Documents(
        row=table["row"].to_numpy(),
        texts=table["text"].to_pylist(),
        input_ids=np.split(flat, ends[1:-1] - ends[0]),
        num_bytes=table["num_bytes"].to_numpy(),
    )


def read_vocabulary(predictor: Path) -> Vocabulary:
    """Read the vocabulary's facts from predictor.json in preprocess's folder `predictor/`."""
    raw: dict[str, Any] = read_json(predictor / SETTINGS)
    return Vocabulary(size=raw["vocab_size"], context=raw["context"], end_of_text_id=raw["end_of_text_id"])
