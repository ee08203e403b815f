"""The settings of a recipe that follow from the texts themselves, beside the figures of the rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows.new.behaviour import changed_shares
from flows.new.figures import Figures, Measured
from flows.new.masks import UNICODE, choose_masks
from flows.new.reading import Trained, read_texts
from serving.predictors.text import clean

MAX_CUT_SHARE = 0.2
MAX_HEADERS_SHARE = 0.5
NUMBER = re.compile(r"\s*[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?\s*")
HEADERS = re.compile(r"(?:From .*\r?\n)?(?:[A-Za-z][A-Za-z0-9-]*: ?.*\r?\n(?:[ \t].*\r?\n)*){3,}\r?\n")
BODY = r"regexp_replace(text, '(?s)^.*?\r?\n\r?\n', '')"


@dataclass(frozen=True)
class TextSettings:
    """The values of a recipe that depend on what its texts hold, and on what an encoder reads of them."""

    mask: tuple[str, ...]
    max_unknown_share: float
    unknown_note: str | None
    """A phrase on what the tokenizer does not know, where that is more than a little."""
    emoji: Literal["names"] | None
    """`names` where emoji are read by their names."""
    trained: Trained | None
    """The tokenizer and the encoder that are trained on the rows; None where one that is there reads them."""
    changed_shares: Mapping[str, float]
    """The share of the texts that each check of behaviour has something to change in, by its kind."""


def look_at_texts(root: Path, measured: Measured, encoder: Path | None) -> tuple[TextSettings, Figures, list[str]]:
    """Return the settings, the figures with the number of tokens where a tokenizer was asked, and remarks.

    Raise SourceError where `encoder` does not know the language of the texts.
    """
    mask, told = choose_masks(measured.sample)
    sample = [clean(text, unicode=UNICODE, mask=mask) for text in measured.sample]
    reading = read_texts(root, sample, measured.figures, encoder)
    figures = replace(measured.figures, tokens=reading.tokens) if reading.tokens else measured.figures
    settings = TextSettings(
        mask, reading.max_unknown_share, reading.unknown_note, reading.emoji, reading.trained, changed_shares(sample)
    )
    return settings, figures, [*told, *reading.hints]


def remarks_on_numbers(sample: tuple[str, ...]) -> list[str]:
    """Return what a person should know where the texts are numbers, of which a model of texts learns little."""
    if not sample or not all(map(NUMBER.fullmatch, sample)):
        return []
    return [
        "the texts are numbers, of which a model of texts learns little; for rows of numbers write a recipe of "
        "the task array_classification, as 'digits' is: its query makes the array, and docs/recipes.md shows how"
    ]


def remarks_on_length(sample: tuple[str, ...], *, cut_share: float, max_tokens: int) -> list[str]:
    """Return what a person should know where many texts are longer than what is read of them."""
    if cut_share <= MAX_CUT_SHARE:
        return []
    found = [
        f"{cut_share:.0%} of the texts have more than {max_tokens} tokens; of these half of so many are read at the "
        "beginning and half at the end (preprocess.truncate), and what lies between is not seen. A larger max_tokens, "
        "as far as the encoder reads, sees more and takes longer"
    ]
    if sum(HEADERS.match(text) is not None for text in sample) > MAX_HEADERS_SHARE * len(sample):
        found.append(
            "the texts begin with the headers of mails, which say little of what is in them; in ingest.query, this "
            f"gives the body of one: {BODY}"
        )
    return found
