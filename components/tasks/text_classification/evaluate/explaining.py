"""The explanations of a sample of the test split: which words moved the answers, by two methods, with their proof.

Leave-one-out asks the int8 model, by the code that answers on the page of the service: the int8 export of the model,
which is what is served where compress chooses the candidate `int8`. Integrated gradients are of the float model.

Legend: P pieces of a text, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.evaluate.explanations.faithfulness import Parted
from components.evaluate.explanations.gradients import Tokens, by_piece, embedding_of, integrated_gradients
from components.evaluate.explanations.sample import sampled, shuffled
from components.evaluate.explanations.study import Effects, Explained, study
from components.evaluate.explanations.tables import Found, WeighedText, found_of, shown_texts, words_by_label
from components.evaluate.stage import Inputs
from components.export import write_int8
from components.models.storage import load
from components.params import Bootstrap, ExplainTexts
from components.plumbing.errors import InputError
from components.plumbing.progress import progress
from components.tasks.text_classification.judging.export import export_classifier
from serving.predictors.explaining import ExplainedText, Span, leave_one_out, without
from serving.predictors.text import read_of
from serving.tasks.text_classification.predictor import MODEL, Predictor

MOST_PIECES = 128
"""A text of more words is explained in groups of neighbours."""


@dataclass(frozen=True)
class Twins:
    """A model in fp32, as it was trained, and in int8, as it is served."""

    model: nn.Module
    served: Predictor


def explain(
    settings: ExplainTexts, inputs: Inputs, *,
    texts: Sequence[str], rows: Sequence[int], actual: Sequence[int], bootstrap: Bootstrap,
) -> Found:  # fmt: skip
    """Return the explanations of a sample of the texts, with their figures.

    `rows` has the number of each text in data.parquet, and `actual` its label number. Raise InputError where no text
    of the sample has a word.
    """
    with TemporaryDirectory(prefix="modelyard-explain-") as scratch:
        ours = twins_of(load(inputs.model), inputs.predictor, Path(scratch, "model"))
        unlearned = shuffled(load(inputs.model), seed=settings.seed)
        random = twins_of(unlearned, inputs.predictor, Path(scratch, "random"))
        weighed: list[WeighedText] = []
        studied: list[Explained[str]] = []
        chosen = sampled(len(texts), settings)
        with progress("explain", total=len(chosen)) as bar:
            for number, index in enumerate(chosen):
                text = ours.served.prepared(texts[index])
                left_out, effects = effects_of(ours, text, label_id=None)
                if left_out.pieces:
                    _, of_random_weights = effects_of(random, text, label_id=left_out.label_id)
                    studied.append(Explained(parted(text, left_out), effects, of_random_weights))
                    weighed.append(weighed_text(rows[index], text, actual[index], left_out, effects))
                bar.update(number + 1)
        if not studied:
            raise InputError(f"none of the {len(chosen)} texts to explain has a word; set evaluate.explain to null")
        found = study(ours.served.predict, studied, seed=settings.seed, bootstrap=bootstrap)
    return found_of(
        found,
        num_rows=len(studied),
        confidence=bootstrap.confidence,
        parts="words",
        texts=shown_texts(weighed, ours.served.labels),
        words=words_by_label(weighed, ours.served.labels, min_occurrences=settings.min_occurrences),
    )


def twins_of(model: nn.Module, predictor: Path, folder: Path) -> Twins:
    """Return a model beside its int8 export, which is written into a new folder with preprocess's predictor files."""
    write_int8({MODEL: export_classifier(model)}, predictor=predictor, folder=folder)
    return Twins(model=model, served=Predictor.load(folder, threads=torch.get_num_threads()))


def effects_of(twins: Twins, text: str, *, label_id: int | None) -> tuple[ExplainedText, dict[str, Effects]]:
    """Return what leave-one-out of the int8 model says of a text, and by method the effect of each piece, (P,).

    The label is by default the int8 model's answer. A model without token embeddings has no integrated gradients.
    """
    left_out = leave_one_out(twins.served.predict, text, most=MOST_PIECES, label_id=label_id)
    effects = {"leave_one_out": left_out.effects[:, left_out.label_id]}
    embedding = embedding_of(twins.model)
    if embedding is not None:
        tokens = tokens_of(twins.served, text)
        found = integrated_gradients(
            twins.model, embedding, tokens,
            pad_token_id=twins.served.settings.pad_token_id, label_id=left_out.label_id,
        )  # fmt: skip
        effects["integrated_gradients"] = by_piece(found.tokens, tokens.spans, left_out.pieces)
    return left_out, effects


def tokens_of(predictor: Predictor, text: str) -> Tokens:
    """Return the tokens of a prepared text as the model reads it, with their places in the text."""
    settings = predictor.settings
    encoding = predictor.tokenizer.encode(text)
    read = read_of(range(len(encoding.ids)), max_tokens=settings.max_tokens, truncate=settings.truncate)
    if not read:
        return Tokens(ids=[settings.pad_token_id], spans=[Span(0, 0)])
    is_special = encoding.special_tokens_mask
    return Tokens(
        ids=[encoding.ids[at] for at in read],
        spans=[Span(0, 0) if is_special[at] else Span(*encoding.offsets[at]) for at in read],
    )


def parted(text: str, found: ExplainedText) -> Parted[str]:
    """Return a text as pieces of which some can be kept."""

    def keep(kept: NDArray[np.bool_]) -> str:
        return without(text, [piece for piece, stays in zip(found.pieces, kept, strict=True) if not stays])

    return Parted(label_id=found.label_id, num_parts=len(found.pieces), keep=keep)


def weighed_text(row: int, text: str, actual_id: int, found: ExplainedText, effects: dict[str, Effects]) -> WeighedText:
    return WeighedText(
        row=row,
        text=text,
        actual_id=actual_id,
        label_id=found.label_id,
        score=found.score,
        pieces=found.pieces,
        is_by_word=found.words_a_piece == 1,
        effects=effects,
        by_label=found.effects,
    )
