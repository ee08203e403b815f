"""The explanations of what the model writes: which words of a prompt make its continuation likely, with their proof.

The prompts are the beginnings of a sample of the test documents, and each continuation is what the model writes after
it, always the likeliest token. The score of a prompt is the log2-probability of that continuation, the mean of its
tokens; leave-one-out takes it again without each word. All is asked of the int8 export of the model, which is what is
served where compress chooses the candidate `int8`.

Legend: N prompts, P words of a prompt.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.evaluate.explanations.faithfulness import Parted
from components.evaluate.explanations.sample import sampled, shuffled
from components.evaluate.explanations.study import Explained, study
from components.evaluate.explanations.tables import Found, WeighedText, found_of, shown_texts
from components.evaluate.stage import Inputs
from components.export import write_int8
from components.models.storage import FAMILY, load
from components.params import Bootstrap, Explain
from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError
from components.plumbing.progress import progress
from components.tasks.text_generation.evaluate.documents import Documents
from components.tasks.text_generation.judging.export import export_step
from components.tasks.text_generation.judging.stepping import stepping_of
from serving.predictors.explaining import Span, leave_out, without, words_of
from serving.predictors.text import clean_lines
from serving.tasks.text_generation.predictor import MODEL, TextGenerator

PROMPT_TOKENS = 32
NEW_TOKENS = 24
SPACES = re.compile(" {2,}")


@dataclass(frozen=True)
class Continued:
    """A prompt, whole or without some words, and the tokens that are told after it."""

    prompt: str
    continuation: tuple[int, ...]


def explain(settings: Explain, inputs: Inputs, *, documents: Documents, bootstrap: Bootstrap) -> Found:
    """Return the explanations of the continuations of a sample of the documents' beginnings, with their figures.

    Raise InputError where the model writes nothing after any of them.
    """
    family = read_json(inputs.model / FAMILY)["family"]
    with TemporaryDirectory(prefix="modelyard-explain-") as scratch:
        ours = served(load(inputs.model), family, inputs.predictor, Path(scratch, "model"))
        unlearned = shuffled(load(inputs.model), seed=settings.seed)
        random = served(unlearned, family, inputs.predictor, Path(scratch, "random"))
        studied: list[Explained[Continued]] = []
        weighed: list[WeighedText] = []
        written: list[str] = []
        chosen = sampled(len(documents.texts), settings)
        with progress("explain", total=len(chosen)) as bar:
            for number, index in enumerate(chosen):
                whole, text = continued(ours, documents.input_ids[index].tolist())
                words = words_of(whole.prompt)
                if words and whole.continuation:
                    rows = [keeping(whole, words)(kept) for kept in ~np.eye(len(words), dtype=np.bool_)]
                    found = leave_out(partial(scores, ours), whole, rows)
                    effects = {"leave_one_out": found.effects[:, 0]}
                    of_random = {"leave_one_out": leave_out(partial(scores, random), whole, rows).effects[:, 0]}
                    row = Parted(label_id=0, num_parts=len(words), keep=keeping(whole, words))
                    studied.append(Explained(row, effects, of_random))
                    written.append(text)
                    weighed.append(
                        WeighedText(
                            row=int(documents.row[index]), text=whole.prompt, actual_id=len(weighed),
                            label_id=len(weighed), score=float(found.scores[0]), pieces=words, is_by_word=True,
                            effects=effects, by_label=found.effects,
                        )
                    )  # fmt: skip
                bar.update(number + 1)
        if not studied:
            raise InputError(
                f"the model writes nothing after any of {len(chosen)} prompts; set evaluate.explain to null"
            )
        judged = study(partial(scores, ours), studied, seed=settings.seed, bootstrap=bootstrap)
    return found_of(
        judged,
        num_rows=len(studied),
        confidence=bootstrap.confidence,
        parts="words",
        score="log2-probability a token of what the model writes after the beginning of a document",
        texts=shown_texts(weighed, written),
    )


def served(model: nn.Module, family: str, predictor: Path, folder: Path) -> TextGenerator:
    """Return the generator of the model's int8 export, which is written into a new folder."""
    write_int8({MODEL: export_step(stepping_of(model, family=family))}, predictor=predictor, folder=folder)
    return TextGenerator.load(folder, threads=torch.get_num_threads())


def continued(generator: TextGenerator, ids: Sequence[int]) -> tuple[Continued, str]:
    """Return the beginning of a document with the tokens of what the model writes after it, and that text."""
    half = generator.settings.context // 2
    prompt = generator.tokenizer.decode(list(ids[: min(PROMPT_TOKENS, half)])).strip(" \n\N{REPLACEMENT CHARACTER}")
    if not prompt:
        return Continued("", ()), ""
    text = generator.generate(
        prompt, max_tokens=min(NEW_TOKENS, half - 1), temperature=0.0, top_k=0, top_p=1.0, seed=0
    ).answer()["text"]
    return Continued(prompt, tuple(generator.tokenizer.encode(text, add_special_tokens=False).ids)), text


def keeping(whole: Continued, words: Sequence[Span]) -> Callable[[NDArray[np.bool_]], Continued]:
    """Return a function that gives the prompt with only some of its words, (P,), as a person would type it."""

    def keep(kept: NDArray[np.bool_]) -> Continued:
        if kept.all():
            return whole
        left = without(whole.prompt, [word for word, stays in zip(words, kept, strict=True) if not stays])
        return Continued(SPACES.sub(" ", left).strip(" "), whole.continuation)

    return keep


def scores(generator: TextGenerator, rows: Sequence[Continued]) -> NDArray[np.float32]:
    """Return the log2-probability of each row's continuation after its prompt, the mean of its tokens, (N, 1)."""
    prompts = [
        generator.tokenizer.encode(
            clean_lines(row.prompt, unicode=generator.settings.unicode), add_special_tokens=False
        ).ids
        for row in rows
    ]
    found = generator.log2_probabilities(
        [[*prompt, *row.continuation] for prompt, row in zip(prompts, rows, strict=True)]
    )
    means = [log2[-len(row.continuation) :].mean() for log2, row in zip(found, rows, strict=True)]
    return np.array(means, np.float32)[:, None]
