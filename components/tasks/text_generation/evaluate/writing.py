"""The texts that a model writes, drawn as the service draws them, and how varied they are.

`distinct_n` is the share of different n-grams among all n-grams of the samples together (Li et al. 2016). `repetition`
is the share of a sample's 4-grams that came in it before, on average (Welleck et al. 2020, seq-rep-4). Both count
tokens and depend on how many there are, so the figures of as many tokens of the test documents stand beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from components.params import Samples
from components.plumbing.errors import InputError
from components.tasks.text_generation.evaluate.documents import Documents
from components.tasks.text_generation.judging.stepping import float_generator, load_stepping
from serving.predictors.sampling import RequestError

LENGTHS = (1, 2, 3)
REPEATED_LENGTH = 4


@dataclass(frozen=True)
class Sample:
    """A text that the model wrote after a prompt."""

    prompt: str
    seed: int
    text: str
    """The text that the model wrote, without the prompt."""
    finish_reason: str


def write_samples(model: Path, predictor: Path, settings: Samples, *, threads: int) -> list[Sample]:
    """Write texts after the recipe's prompts, each with a seed of its own.

    Raise InputError where a prompt cannot be read.
    """
    generator = float_generator(load_stepping(model), predictor, threads=threads)
    prompts = [settings.prompts[number % len(settings.prompts)] for number in range(settings.num_samples)]
    requests = [
        {
            "prompt": prompt, "max_tokens": settings.max_tokens, "temperature": settings.temperature,
            "top_k": settings.top_k, "top_p": settings.top_p, "seed": settings.seed + number,
        }
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip
    try:
        answers = generator.answers(requests)
    except RequestError as error:
        raise InputError(
            f"evaluate.samples: {error}; the prompts are {', '.join(map(repr, settings.prompts))}"
        ) from error
    return [
        Sample(prompt=prompt, seed=answer["seed"], text=answer["text"], finish_reason=answer["finish_reason"])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def variety(texts: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return `distinct_1` to `distinct_3` and `repetition` of the tokens of some texts."""
    found = {f"distinct_{length}": distinct(texts, length=length) for length in LENGTHS}
    shares = [1 - distinct([text], length=REPEATED_LENGTH) for text in texts if len(text) >= REPEATED_LENGTH]
    return found | {"repetition": float(np.mean(shares)) if shares else 0.0}


def distinct(texts: Sequence[Sequence[int]], *, length: int) -> float:
    """Return the number of different n-grams over that of all n-grams; 0 where there is none."""
    grams = [tuple(text[start : start + length]) for text in texts for start in range(len(text) - length + 1)]
    return len(set(grams)) / max(len(grams), 1)


def tokens_of(samples: Sequence[Sample], tokenizer: Tokenizer) -> list[list[int]]:
    """Return the tokens of each sample's text."""
    return [tokenizer.encode(sample.text, add_special_tokens=False).ids for sample in samples]


def alike(documents: Documents, lengths: Sequence[int]) -> list[list[int]]:
    """Return pieces of the documents with these numbers of tokens, from the middle of one document after another.

    A document that is shorter gives a shorter piece.
    """
    found: list[list[int]] = []
    for number, length in enumerate(lengths):
        ids = documents.input_ids[number % len(documents.input_ids)][:-1]
        start = max(0, (len(ids) - length) // 2)
        found.append(ids[start : start + length].tolist())
    return found
