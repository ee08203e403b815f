"""The one path from a text to the scores of its labels.

`evaluate`, `compress` and `package` judge models through it, and the service answers with it, so that what is measured
is what is served. It needs onnxruntime, tokenizers and numpy only. A folder that it loads holds `model.onnx`,
`tokenizer.json` and `predictor.json`, `calibration.json` where its scores are calibrated, and `batching.json` where its
calls may have several rows.

Shapes: N texts, B rows of a batch, T tokens, L labels.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from serving.bundle import reading
from serving.predictors.batching import Workers, alike, load_batch_size
from serving.predictors.calibration import Calibration, load_calibration
from serving.predictors.scores import ScoredLabel, Scores, answers_of, softmax
from serving.predictors.session import open_session
from serving.predictors.text import Truncate, clean, cut, limit, read_of

ROUTE = "/classify"
"""The path on which the service answers."""

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
SETTINGS = "predictor.json"

BATCH_SIZE = 8
"""The most rows of a call, where answers do not depend on it: more of them gain nothing on a CPU."""
CALL_TOKENS = 12
"""The time that a call takes beside its tokens, as tokens: a row that needs more padding than that goes alone."""

Ids = NDArray[np.int64]
Forward = Callable[[Ids, Ids], NDArray[np.float32]]
"""A function from input_ids (B, T) and attention_mask (B, T) to logits (B, L)."""


@dataclass(frozen=True)
class PredictorSettings:
    """The contents of predictor.json: the making of tokens from a text, and the meaning of the scores."""

    labels: tuple[str, ...]
    """The labels, in the order of the model's logits."""
    unicode: Literal["NFC", "NFKC"]
    mask: tuple[str, ...]
    """The kinds of details that are replaced by their name in brackets: email, phone, card, iban, ip, url."""
    max_tokens: int
    """The most tokens of one text; a longer text is cut."""
    pad_token_id: int
    emoji: Literal["names"] | None = None
    """Whether an emoji is read as the words that Unicode names it by."""
    truncate: Truncate = "head"
    """The part that is read of a text that is too long."""


def load_settings(path: Path) -> PredictorSettings:
    """Return the settings in a predictor.json."""
    with reading(path):
        raw = json.loads(path.read_text(encoding="utf-8"))
        return PredictorSettings(
            labels=tuple(raw["labels"]),
            unicode=raw["unicode"],
            mask=tuple(raw["mask"]),
            max_tokens=raw["max_tokens"],
            pad_token_id=raw["pad_token_id"],
            emoji=raw.get("emoji"),
            truncate=raw.get("truncate", "head"),
        )


def load_tokenizer(path: Path, settings: PredictorSettings) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, set to cut at `max_tokens` and never to pad, whatever the file says.

    The name of a special token in a text, such as `[SEP]`, is read as a text like any other.
    """
    with reading(path):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    limit(tokenizer, max_tokens=settings.max_tokens, truncate=settings.truncate)
    tokenizer.encode_special_tokens = True
    return tokenizer


class Predictor:
    """A tokenizer and a model's forward, as one call from texts to scores."""

    def __init__(
        self, *, tokenizer: Tokenizer, settings: PredictorSettings, forward: Forward, batch_size: int, threads: int,
        calibration: Calibration | None = None,
    ) -> None:  # fmt: skip
        """`forward` takes batches of at most `batch_size` rows of like lengths, on `threads` threads at once; without a
        calibration, the scores are those of the model."""
        self.tokenizer, self.settings, self.forward = tokenizer, settings, forward
        self.batch_size, self.calibration = batch_size, calibration
        self.workers = Workers(threads)

    @classmethod
    def load(cls, folder: Path, *, threads: int, batch_size: int | None = None) -> "Predictor":
        """Return the predictor of the compressed model in `folder`, which computes on `threads` threads at once.

        `batch_size` is the most rows of a call: what its `batching.json` says, unless given.
        """
        settings = load_settings(folder / SETTINGS)
        return cls(
            tokenizer=load_tokenizer(folder / TOKENIZER, settings),
            settings=settings,
            forward=onnx_forward(folder / MODEL),
            batch_size=load_batch_size(folder) if batch_size is None else batch_size,
            threads=threads,
            calibration=load_calibration(folder, num_labels=len(settings.labels)),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.settings.labels

    def answers(self, scores: Scores) -> Sequence[ScoredLabel]:
        """Return the answer of the service for texts with these scores, (N, L)."""
        threshold = None if self.calibration is None else self.calibration.threshold
        return answers_of(self.labels, scores, threshold=threshold)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, cleaned and cut as in training; a text without tokens gets one padding
        token."""
        settings = self.settings
        return [
            list(read_of(encoding.ids, max_tokens=settings.max_tokens, truncate=settings.truncate))
            or [settings.pad_token_id]
            for encoding in self.tokenizer.encode_batch_fast([self.prepared(text) for text in texts])
        ]

    def prepared(self, text: str) -> str:
        """Return the text as the tokenizer reads it, cleaned and cut; one that is prepared already stays as it is."""
        settings = self.settings
        cleaned = clean(text, unicode=settings.unicode, mask=settings.mask, emoji=settings.emoji)
        return cut(cleaned, max_tokens=settings.max_tokens, truncate=settings.truncate)

    def predict(self, texts: Sequence[str]) -> Scores:
        """Return the probability of each label for each text, (N, L), whatever other texts there are."""
        workers = self.workers
        size = workers.share(len(texts), most=len(texts))
        parts = workers.map(self.encode, [texts[start : start + size] for start in range(0, len(texts), size)])
        ids = [row for part in parts for row in part]
        most = workers.share(len(ids), most=self.batch_size)
        batches = alike([len(row) for row in ids], most=most, spare=CALL_TOKENS)
        scores = np.zeros((len(ids), len(self.labels)), np.float32)  # (N, L)
        results = workers.map(lambda batch: self.score([ids[row] for row in batch]), batches)
        for batch, found in zip(batches, results, strict=True):
            scores[batch] = found
        return scores if self.calibration is None else self.calibration.way.apply(scores)

    def score(self, rows: Sequence[Sequence[int]]) -> Scores:
        """Return the model's own scores of one batch of token ids, (B, L), padded to its longest row."""
        longest = max(map(len, rows))
        input_ids = np.full((len(rows), longest), self.settings.pad_token_id, np.int64)  # (B, T)
        attention_mask = np.zeros_like(input_ids)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = row
            attention_mask[index, : len(row)] = 1
        return softmax(self.forward(input_ids, attention_mask))


def onnx_forward(path: Path) -> Forward:
    """Return the forward of an ONNX model."""
    session = open_session(path)

    def forward(input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        return np.asarray(session.run(["logits"], {"input_ids": input_ids, "attention_mask": attention_mask})[0])

    return forward
