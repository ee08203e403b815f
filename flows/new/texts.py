"""The settings of a recipe that follow from the texts themselves, beside the figures of the rows."""

from dataclasses import dataclass, replace
from pathlib import Path

from flows.new.figures import Figures, Measured
from flows.new.masks import UNICODE, choose_masks
from flows.new.reading import Trained, read_texts
from serving.predictors.text import clean


@dataclass(frozen=True)
class TextSettings:
    """The values of a recipe that depend on what its texts hold, and on what an encoder reads of them."""

    mask: tuple[str, ...]
    max_unknown_share: float
    unknown_note: str | None
    """A phrase on what the tokenizer does not know, where that is more than a little."""
    trained: Trained | None
    """The tokenizer and the encoder that are trained on the rows; None where one that is there reads them."""


def look_at_texts(root: Path, measured: Measured, encoder: Path | None) -> tuple[TextSettings, Figures, list[str]]:
    """Return the settings, the figures with the number of tokens where a tokenizer was asked, and remarks.

    Raise SourceError where `encoder` does not know the language of the texts.
    """
    mask, told = choose_masks(measured.sample)
    sample = [clean(text, unicode=UNICODE, mask=mask) for text in measured.sample]
    reading = read_texts(root, sample, measured.figures, encoder)
    figures = replace(measured.figures, tokens=reading.tokens) if reading.tokens else measured.figures
    settings = TextSettings(mask, reading.max_unknown_share, reading.unknown_note, reading.trained)
    return settings, figures, [*told, *reading.hints]
