"""Seeded changes of a text, each of one kind.

A change takes a text and a random source, and gives the changed text, or None where there is nothing that it could
change. What preprocess put in place of personal details, as `[EMAIL]`, stays as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from components.evaluate.behaviour.words import INTENSIFIERS, MEN, NEGATED, NEGATIONS, NEUTRAL, WEIGHED, WOMEN
from components.params.behaviour import BehaviourCheck, Intensifiers, Minimum, Names, Negation, Neutral

Change = Callable[[str, Random], str | None]

WORDS_OF_A_TYPO = 20
MOST_OF_A_NUMBER = 5  # a number moves by at most one part in so many, as in CheckList
LONG_WORD = re.compile(r"\[[A-Z]+\]|([^\W\d_]{4,})")
PLACEHOLDER = re.compile(r"(\[[A-Z]+\])")
# A whole number by itself: not of 3D, 10/10, 50%, 1.5, 12:30 or 2024-05-01.
NUMBER = re.compile(r"(?<![A-Za-z0-9.,/:_#-])[0-9]{1,9}(?![A-Za-z0-9/:%_-]|[.,][0-9])")
END = re.compile(r"[\s.!?\u2026\u3002\uff01\uff1f]+$")
# Letters of scripts that are written without spaces: a word may begin and end anywhere among them.
SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def change_of(check: BehaviourCheck) -> Change | None:
    """Return the change of a check; None for one that asks for plain texts as they are."""
    match check:
        case Minimum():
            return None
        case Names():
            return swap_names([check.words] if check.words else [WOMEN, MEN])
        case Neutral():
            return add_sentence(check.sentences or NEUTRAL)
        case Negation():
            return replace_word(check.pairs) if check.pairs else replace_word(NEGATIONS, not_before=NEGATED)
        case Intensifiers():
            return replace_word(check.pairs) if check.pairs else replace_word(INTENSIFIERS, not_after=WEIGHED)
        case _:
            return PLAIN[check.kind]


def swap_letters(text: str, random: Random) -> str | None:
    """Swap two neighbouring letters, the first letter aside, in one word of every twenty begun; words of four letters
    and more get it."""
    places = [
        found.start(1) + place
        for found in LONG_WORD.finditer(text)
        if found[1] and (place := a_swap(found[1], random)) is not None
    ]
    if not places:
        return None
    letters = list(text)
    num_typos = -(-max(len(text.split()), 1) // WORDS_OF_A_TYPO)
    for place in random.sample(places, min(num_typos, len(places))):
        letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)


def a_swap(word: str, random: Random) -> int | None:
    """Return a place in a word after its first letter whose letter differs from the next one; None without any."""
    places = [place for place in range(1, len(word) - 1) if word[place] != word[place + 1]]
    return random.choice(places) if places else None


def swap_case(text: str, random: Random) -> str | None:
    """Write all letters capital, or all small; None where no letter has a case."""
    forms = [
        "".join(part if place % 2 else change(part) for place, part in enumerate(PLACEHOLDER.split(text)))
        for change in (str.upper, str.lower)
    ]
    others = [form for form in forms if form != text]
    return random.choice(others) if others else None


def move_numbers(text: str, random: Random) -> str | None:
    """Replace each whole number that stands by itself by another, at most a fifth away, but no less than one."""

    def other(found: re.Match[str]) -> str:
        number = int(found[0])
        reach = max(1, number // MOST_OF_A_NUMBER)
        moved = random.choice([-1, 1] if number > 1 else [1]) * random.randint(1, reach) + number
        return str(moved).zfill(len(found[0]) if found[0].startswith("0") else 0)

    changed = NUMBER.sub(other, text)
    return None if changed == text else changed


def end_otherwise(text: str, random: Random) -> str | None:
    """Take away the marks that end the text, or add a full stop where there is none."""
    body = END.sub("", text)
    if not body:
        return None
    if body != text.rstrip():
        return body
    return body + ("。" if SPACELESS.match(body[-1]) else ".")


PLAIN: Mapping[str, Change] = {
    "typos": swap_letters,
    "case": swap_case,
    "numbers": move_numbers,
    "punctuation": end_otherwise,
}
"""The changes that need no words, by the kind of their check."""


def swap_names(groups: Sequence[Sequence[str]]) -> Change:
    """Return the change that gives each name another one of its group, the same wherever it comes."""
    group_of = {name: group for group in groups for name in group}
    pattern = re.compile(any_of(group_of))

    def change(text: str, random: Random) -> str | None:
        there = dict.fromkeys(pattern.findall(text))
        taken: dict[str, str] = {}
        for name in there:
            free = [other for other in group_of[name] if other not in there and other not in taken.values()]
            if free:
                taken[name] = random.choice(free)
        return pattern.sub(lambda found: taken.get(found[0], found[0]), text) if taken else None

    return change


def add_sentence(sentences: Sequence[str]) -> Change:
    """Return the change that puts one of the sentences before or after the text."""

    def change(text: str, random: Random) -> str | None:
        parts = [text.strip(), random.choice(sentences)]
        return " ".join(parts if random.random() < 0.5 else reversed(parts))

    return change


def replace_word(pairs: Mapping[str, str], *, not_before: Sequence[str] = (), not_after: Sequence[str] = ()) -> Change:
    """Return the change that writes, for one word that `pairs` has, what stands for it there.

    A word stays where the text says already what it would become, or where it stands before one of `not_before` or
    after one of `not_after`.
    """
    known = {old.lower(): new for old, new in pairs.items()}
    guard = rf"{any_of(not_after)}\s+{any_of(known)}|" if not_after else ""
    follows = rf"(?!\s*{any_of(not_before)})" if not_before else ""
    pattern = re.compile(f"{guard}({any_of(known)}){follows}", re.IGNORECASE)

    def change(text: str, random: Random) -> str | None:
        places = [
            found for found in pattern.finditer(text)
            if found[1] and (new := known.get(found[1].lower())) and not is_said(text, new, found)
        ]  # fmt: skip
        if not places:
            return None
        found = random.choice(places)
        new = known[found[1].lower()]
        if found[1][0].isupper():
            new = new.upper() if len(found[1]) > 1 and found[1].isupper() else new[0].upper() + new[1:]
        return text[: found.start(1)] + new + text[found.end(1) :]

    return change


def is_said(text: str, new: str, found: re.Match[str]) -> bool:
    """Return whether `new` stands already where the old word was found, which is its beginning or its end."""
    after = text[found.start(1) : found.start(1) + len(new)]
    before = text[max(0, found.end(1) - len(new)) : found.end(1)]
    return new.lower() in (after.lower(), before.lower())


def any_of(words: Sequence[str] | Mapping[str, object]) -> str:
    """Return the pattern of any of the words, as whole ones; the longest that fits is found."""
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return f"(?:{'|'.join(map(whole, longest_first))})"


def whole(word: str) -> str:
    """Return the pattern of a word that is no part of a longer one, in scripts that are written with spaces."""
    before = r"(?<!\w)" if re.match(r"\w", word) and not SPACELESS.match(word[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", word[-1]) and not SPACELESS.match(word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"
