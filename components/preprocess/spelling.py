"""The reading of texts by a tokenizer: the tokens that it does not know, what it lacks for them, and how much it
reads."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Encoding, Tokenizer

from components.preprocess.known_tokenizer import KnownTokenizer

Cause = Literal["letters", "symbols", "words"]
KINDS: dict[Cause, str] = {
    "letters": "letters", "symbols": "symbols", "words": "words of more than a hundred characters",
}  # fmt: skip

NUM_EXAMPLES = 5
NUM_LETTERS_OF_A_WORD = 2
VARIATIONS = "\ufe0e\ufe0f"
"""Marks that say whether a sign is drawn as text or as an emoji."""


@dataclass(frozen=True)
class Spelling:
    """Counts over some texts, encoded without special tokens."""

    lengths: tuple[int, ...]
    """The number of tokens of each text."""
    num_unknown: int
    """The number of unknown tokens."""
    num_letters: int
    num_unread: int
    """The number of letters in words that are unknown, or spelled letter by letter: of these words a model that was
    trained with the tokenizer knows nothing."""

    @property
    def unknown_share(self) -> float:
        """The share of the tokens that are unknown."""
        return self.num_unknown / max(sum(self.lengths), 1)

    @property
    def unread_share(self) -> float:
        """The share of the letters in words that are unknown, or spelled letter by letter."""
        return self.num_unread / max(self.num_letters, 1)


def spell(known: KnownTokenizer, texts: Sequence[str]) -> Spelling:
    """Encode the texts, and count."""
    unknown_id = known.unknown_id
    lengths: list[int] = []
    num_unknown = num_letters = num_unread = 0
    for text, encoding in zip(texts, encoded(known.tokenizer, texts), strict=True):
        lengths.append(len(encoding.ids))
        for is_unknown, spans in words_of(encoding, unknown_id):
            word = text[spans[0][0] : spans[-1][1]]
            if is_unknown and word.isascii():  # too long for it, as what stands in base64 is, and of no language
                continue
            letters = sum(map(str.isalpha, word))
            is_spelled = letters >= NUM_LETTERS_OF_A_WORD and all(end - start <= 1 for start, end in spans)
            num_letters += letters
            num_unread += letters if is_unknown or is_spelled else 0
        num_unknown += encoding.ids.count(unknown_id) if unknown_id is not None else 0
    return Spelling(tuple(lengths), num_unknown, num_letters, num_unread)


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Return the texts' whole encodings, whatever limits the tokenizer has, without special tokens."""
    return without_limits(tokenizer).encode_batch(list(texts), add_special_tokens=False)


def without_limits(tokenizer: Tokenizer) -> Tokenizer:
    """Return the same tokenizer, which neither truncates nor pads."""
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    whole.encode_special_tokens = tokenizer.encode_special_tokens  # which is in no file
    return whole


def words_of(encoding: Encoding, unknown_id: int | None) -> list[tuple[bool, list[tuple[int, int]]]]:
    """Return for each word whether a token of it is unknown, and where its tokens lie in the text."""
    words: dict[int | None, tuple[bool, list[tuple[int, int]]]] = {}
    for number, word, span in zip(encoding.ids, encoding.word_ids, encoding.offsets, strict=True):
        is_unknown, spans = words.get(word, (False, []))
        spans.append(span)
        words[word] = (is_unknown or number == unknown_id, spans)
    return list(words.values())


def lacking(known: KnownTokenizer, texts: Sequence[str]) -> tuple[Cause, list[str]]:
    """Return for want of what most unknown tokens of the texts are unknown, with the most frequent examples of it.

    What the tokenizer does not know on its own either is a letter of a script, or a symbol such as an emoji. A word
    whose characters it knows one by one is too long for it.
    """
    whole = without_limits(known.tokenizer)
    unknown = Counter(
        text[start:end]
        for text, encoding in zip(texts, encoded(known.tokenizer, texts), strict=True)
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if number == known.unknown_id
    )
    characters = sorted({character for word in unknown for character in word})
    alone = dict(zip(characters, whole.encode_batch(characters, add_special_tokens=False), strict=True))
    weights: Counter[Cause] = Counter()
    found: dict[Cause, Counter[str]] = {"letters": Counter(), "symbols": Counter(), "words": Counter()}
    for word, count in unknown.items():
        wanting = [character for character in word if known.unknown_id in alone[character].ids]
        letters = [character for character in wanting if not is_symbol(character)]
        cause: Cause = "letters" if letters else "symbols" if wanting else "words"
        weights[cause] += count
        for example in letters or wanting or [word]:
            found[cause][example] += count
    ((most, _),) = weights.most_common(1)
    return most, [example for example, _ in found[most].most_common(NUM_EXAMPLES)]


def is_symbol(character: str) -> bool:
    """Return whether a character is no letter, mark or digit of a script: an emoji, a sign, a part of one."""
    return unicodedata.category(character)[0] in "SPCZ" or character in VARIATIONS
