"""The champion gate for language models: bits per byte of the same texts, read by each model with its own tokenizer.

The texts are the beginnings of the test split's documents, as many bytes as take seconds to read. The bootstrap draws
documents, because the tokens of one are no independent rows.

Legend: N documents, S resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.comparison.duel import Comparison, HeldOut, paired
from components.evaluate.classification.metrics import Figures, Statistic, Weights
from components.params import Bootstrap
from components.tasks.text_generation.compress import MAX_PROMPTS, greedy
from serving.tasks.text_generation.predictor import SETTINGS, TextGenerator, load_settings

MAX_CHARACTERS = 80_000
"""The largest number of characters of all texts together: about 20,000 tokens."""
LEAST_CHARACTERS = 500
PROMPT_CHARACTERS = 60
INDIFFERENCE = 0.005
"""Bits per byte: about 1.5 % of the perplexity of tokens of four bytes."""
BYTES_A_CHARACTER = 4
"""The most bytes, and so tokens, of a character: a prompt must fit into the context, whatever the tokenizer."""

Bits = NDArray[np.float64]
"""What each text costs a model, (N,)."""


def make_duel(data: HeldOut, *, metric: str) -> "LanguageDuel":
    """Return the comparison of two language models by `metric`, on the beginnings of the held-out documents."""
    texts: list[str] = pq.read_table(data.test, columns=["text"])["text"].to_pylist()
    share = max(MAX_CHARACTERS // max(len(texts), 1), LEAST_CHARACTERS)
    beginnings = [text[:share] for text in texts if text][: MAX_CHARACTERS // LEAST_CHARACTERS]
    room = load_settings(data.predictor / SETTINGS).context // BYTES_A_CHARACTER
    prompts = [text.strip()[: max(min(PROMPT_CHARACTERS, room), 1)] for text in beginnings[:MAX_PROMPTS]]
    return LanguageDuel(metric=metric, texts=beginnings, items=[prompt for prompt in prompts if prompt])


@dataclass(frozen=True)
class LanguageDuel:
    """The comparison of two language models by their bits per byte."""

    metric: str
    texts: Sequence[str]
    items: Sequence[Any]
    """The prompts of the speed rounds."""
    unit: str = "prompt"
    indifference: float = INDIFFERENCE

    def load(self, bundle: Path, *, threads: int) -> TextGenerator:
        return TextGenerator.load(bundle, threads=threads)

    def work(self, runner: TextGenerator, items: Sequence[Any]) -> int:
        return sum(answer["num_tokens"] for answer in runner.answers([greedy(prompt) for prompt in items]))

    def answers(self, runner: TextGenerator) -> Bits:
        return bits_of(runner, self.texts)

    def compare(self, champion: Bits, challenger: Bits, *, bootstrap: Bootstrap) -> Comparison:
        size = np.array([len(text.encode()) for text in self.texts], np.float64)
        ours, theirs = (per_byte(self.metric, bits, size) for bits in (champion, challenger))
        before, after, drop = paired(
            ours, theirs, self.metric, num_rows=len(self.texts), bootstrap=bootstrap, sign=-1.0
        )
        return Comparison(
            judged=f"{size.sum():,.0f} bytes of the test split, the beginnings of {len(self.texts):,} of its documents",
            champion=before,
            challenger=after,
            drop=float(drop[0]),
            drop_low=float(drop[1]),
            drop_high=float(drop[2]),
        )


def bits_of(runner: TextGenerator, texts: Sequence[str]) -> Bits:
    """Return the number of bits that each text costs the model, (N,)."""
    ids = [runner.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return np.array([-found.sum() for found in runner.log2_probabilities(ids)])


def per_byte(name: str, bits: Bits, size: NDArray[np.float64]) -> Statistic:
    """Return a function that gives the bits per byte of each resample of the documents, (S,)."""

    def statistic(weights: Weights) -> Figures:
        drawn = weights.T.astype(np.float64)  # (S, N)
        return {name: drawn @ bits / (drawn @ size)}

    return statistic
