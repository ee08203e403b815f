"""compress for language models: one step as a graph, bits per byte, tokens/s.

Quality, the float model's too, is measured on the beginnings of a split's documents, about MAX_TOKENS tokens in all,
read in windows as long texts are when served. evaluate judges the whole split, so its figure differs. Speed is that of
writing, one token at a time, from prompt to text; torch steps in the same way, with the same state, one core a text.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import nn

from components.compress.paths import Inputs
from components.compress.trial import FloatFigures, Golden, Quality, Tested, quality_of
from components.evaluate.bootstrap import Figures, Weights
from components.export.static import Feeds
from components.models.storage import WEIGHTS
from components.plumbing.errors import InputError
from components.tasks.text_generation.judging.export import export_step
from components.tasks.text_generation.judging.stepping import Stepping, float_generator, load_stepping
from serving.tasks.text_generation.predictor import (
    MODEL,
    ROUTE,
    SETTINGS,
    TOKENIZER,
    TextGenerator,
    load_settings,
    load_tokenizer,
    log2_probability,
)

MAX_TOKENS = 20_000  # of a split that are read: seconds for torch, and the same ones for every candidate
MAX_PROMPTS = 20
MAX_PIECES = 32  # of the training split, by which activations are scaled
PROMPT_TOKENS = 16
NEW_TOKENS = 24  # of a prompt's answer

Read = tuple[NDArray[np.int64], NDArray[np.float64]]
"""The likeliest token at each place of a piece, and the log2-probability of the token that is there."""


@dataclass(frozen=True)
class Excerpts:
    """The beginnings of a split's documents."""

    row: NDArray[np.int64]
    input_ids: list[list[int]]
    num_bytes: NDArray[np.int64]
    """The size of each beginning, in bytes of UTF-8."""
    prompts: list[str]
    """The first tokens of some of the documents, as texts."""


def make_trial(inputs: Inputs) -> "TextGenerationTrial":
    """Return the trial of a language model."""
    return TextGenerationTrial(
        folder=inputs.predictor,
        stepping=load_stepping(inputs.model),
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_excerpts(inputs.validation, inputs.predictor),
        test_split=read_excerpts(inputs.test, inputs.predictor),
        train=inputs.train,
    )


def read_excerpts(path: Path, predictor: Path) -> Excerpts:
    """Read the beginnings of a split's documents, up to the same number of tokens of each."""
    tokenizer, settings = load_tokenizer(predictor / TOKENIZER), load_settings(predictor / SETTINGS)
    table = pq.read_table(path, columns=["row", "input_ids"])
    share = max(MAX_TOKENS // max(len(table), 1), settings.context)
    input_ids = [ids[:share] for ids in table["input_ids"].to_pylist()][: MAX_TOKENS // settings.context + 1]
    beginnings = [tokenizer.decode(ids[: min(PROMPT_TOKENS, settings.context // 2)]) for ids in input_ids]
    prompts = [text for text in (beginning.strip("\N{REPLACEMENT CHARACTER}") for beginning in beginnings) if text]
    chosen = np.unique(np.linspace(0, len(prompts) - 1, min(MAX_PROMPTS, len(prompts))).round().astype(np.int64))
    return Excerpts(
        row=table["row"].to_numpy().astype(np.int64)[: len(input_ids)],
        input_ids=input_ids,
        num_bytes=np.array([len(tokenizer.decode(ids).encode()) for ids in input_ids], np.int64),
        prompts=[prompts[number] for number in chosen.tolist()],
    )


@dataclass(frozen=True)
class TextGenerationTrial:
    """The trial of a language model: how it is exported, run and judged."""

    folder: Path
    """The folder `predictor/` of preprocess."""
    stepping: Stepping
    float_size_bytes: int
    validation: Excerpts
    test_split: Excerpts
    train: Path
    """The training split, which is read where activations are scaled by its rows."""
    metric: str = "bits_per_byte"
    unit: str = "tokens"

    @property
    def num_validation(self) -> int:
        return len(self.validation.input_ids)

    @property
    def items(self) -> Sequence[Any]:
        return self.validation.prompts

    @cached_property
    def reader(self) -> TextGenerator:
        """The float model on all of torch's threads, one text at a time."""
        return float_generator(self.stepping, self.folder, threads=1)

    def judge_float(self) -> FloatFigures:
        started = time.perf_counter()
        quality = self.quality(self.reader)
        num_tokens = sum(map(len, self.validation.input_ids))
        return FloatFigures(quality=quality, units_per_s=num_tokens / (time.perf_counter() - started))

    def float_runner(self, *, threads: int) -> TextGenerator:
        return float_generator(self.stepping, self.folder, threads=threads)

    def batched_runner(self, *, threads: int) -> None:
        """Return nothing: in batches torch reads, and what is served writes."""

    def export(self, model: nn.Module | None = None) -> Mapping[str, onnx.ModelProto]:
        if model is not None:
            raise InputError("compress.students is for classifiers; a language model has none: leave it out")
        return {MODEL: export_step(self.stepping)}

    def settle_batches(self, folder: Path) -> int:
        return 1

    def calibrate(self, folder: Path, *, threads: int) -> tuple[()]:
        return ()

    def feeds(self, num_rows: int) -> Sequence[Feeds]:
        """Return pieces of documents of the training split, as long as the context, from their beginnings."""
        settings = load_settings(self.folder / SETTINGS)
        documents = pq.read_table(self.train, columns=["input_ids"])["input_ids"]
        before = {name: value.numpy() for name, value in self.stepping.inputs.items() if name.startswith("state_")}
        place = {"position": np.zeros(1, np.int64)} if "position" in self.stepping.inputs else {}
        chosen = np.unique(np.linspace(0, len(documents) - 1, min(num_rows, MAX_PIECES)).round().astype(np.int64))
        pieces = [[settings.end_of_text_id, *documents[int(row)].as_py()][: settings.context] for row in chosen]
        return [{"input_ids": np.array([piece], np.int64), **place, **before} for piece in pieces]

    def load(self, folder: Path, *, threads: int) -> TextGenerator:
        return TextGenerator.load(folder, threads=threads)

    def quality(self, runner: TextGenerator) -> Quality:
        return bits_per_byte(runner.log2_probabilities(self.validation.input_ids), self.validation.num_bytes)

    def work(self, runner: TextGenerator, items: Sequence[Any]) -> int:
        answers = runner.answers([greedy(prompt) for prompt in items])
        return sum(answer["num_tokens"] + (answer["finish_reason"] == "end") for answer in answers)

    def test(self, runner: TextGenerator) -> Tested:
        split = self.test_split
        float_guess, float_log2 = read_figures(self.reader, split)
        guess, log2 = read_figures(runner, split)
        likelihoods = np.exp2(np.concatenate(log2)), np.exp2(np.concatenate(float_log2))
        table = document_table(split, bits=log2, float_bits=float_log2)
        return Tested(
            num_test=len(split.input_ids),
            judged=described(split),
            float_quality=bits_per_byte(float_log2, split.num_bytes),
            quality=bits_per_byte(log2, split.num_bytes),
            agreement=float((np.concatenate(guess) == np.concatenate(float_guess)).mean()),
            mean_difference=float(np.abs(likelihoods[0] - likelihoods[1]).mean()),
            tables={"documents.parquet": table},
            golden=golden_of(runner, split.prompts),
        )


def bits_per_byte(log2: Iterable[NDArray[np.float64]], num_bytes: NDArray[np.int64]) -> Quality:
    """Return the bits per byte of documents, by the log2-probabilities of each one's tokens and its size in bytes."""
    bits = -np.array([one.sum() for one in log2])  # (D,)

    def statistic(weights: Weights) -> Figures:
        return {"bits_per_byte": (bits @ weights) / (num_bytes @ weights)}

    return quality_of(statistic, "bits_per_byte", num_rows=len(bits))


def described(split: Excerpts) -> str:
    """Return, in words, what is read of the test split."""
    num_tokens, longest = sum(map(len, split.input_ids)), max(map(len, split.input_ids), default=0)
    return (
        f"{num_tokens:,} tokens of the test split, the beginnings of {len(split.input_ids):,} of its documents "
        f"({longest:,} tokens each at most)"
    )


def greedy(prompt: str) -> dict[str, Any]:
    """Return a request for the likeliest answer."""
    return {"prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}


def drawn(prompt: str, *, seed: int) -> dict[str, Any]:
    """Return a request for an answer that is drawn at random."""
    return greedy(prompt) | {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": seed}


def golden_of(runner: TextGenerator, prompts: Sequence[str]) -> list[Golden]:
    """Return requests, greedy and drawn in turns, with the answers that the service must give again."""
    requests = [drawn(prompt, seed=number) if number % 2 else greedy(prompt) for number, prompt in enumerate(prompts)]
    return [
        Golden(route=ROUTE, request={**request, "stream": False}, answer=answer)
        for request, answer in zip(requests, runner.answers(requests), strict=True)
    ]


def read_figures(runner: TextGenerator, split: Excerpts) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Return each document's likeliest token at each place, and the log2-probability of the token that is there."""

    def figures(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> Read:
        return logits.argmax(axis=1), log2_probability(logits, tokens)

    documents = runner.read(split.input_ids, figures)
    guess = [np.concatenate([guess for guess, _ in pieces]) for pieces in documents]
    return guess, [np.concatenate([log2 for _, log2 in pieces]) for pieces in documents]


def document_table(
    split: Excerpts, *, bits: Sequence[NDArray[np.float64]], float_bits: Sequence[NDArray[np.float64]]
) -> pa.Table:
    """Return a table of each beginning's row, num_tokens, num_bytes, bits_per_byte and float_bits_per_byte."""
    columns = {
        "row": pa.array(split.row, pa.int64()),
        "num_tokens": pa.array([len(ids) for ids in split.input_ids], pa.int64()),
        "num_bytes": pa.array(split.num_bytes, pa.int64()),
    }
    for name, found in (("bits_per_byte", bits), ("float_bits_per_byte", float_bits)):
        per_byte = [-log2.sum() / max(size, 1) for log2, size in zip(found, split.num_bytes, strict=True)]
        columns[name] = pa.array(np.round(per_byte, 6), pa.float64())
    return pa.table(columns)
