"""The texts of a check: rows of the test split that its change alters, or texts of its own, each beside the changed
one."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from components.evaluate.behaviour.perturb import change_of
from components.params import Behaviour, BehaviourCheck
from components.params.behaviour import FIELD, Minimum, Rewriting, fields_of, num_texts, title
from components.plumbing.errors import InputError

GIVE_PAIRS = ("any of its words", "give words that your texts have by 'pairs', or take the check out")
LACKING: Mapping[str, tuple[str, str]] = {
    "typos": ("words of four letters or more", "take the check out"),
    "case": ("letters that have a case", "take the check out"),
    "numbers": ("whole numbers that stand by themselves", "take the check out"),
    "punctuation": ("anything but marks", "take the check out"),
    "names": ("any of its names", "give names that your texts have by 'words', or take the check out"),
    "negation": GIVE_PAIRS,
    "intensifiers": GIVE_PAIRS,
}
"""By the kind of a check, what a text must have for its change to find something, and what to do where none has."""


@dataclass(frozen=True)
class Case:
    """A text that a check asks about."""

    row: int | None
    """The place of its row in the test split; None for a text of the check's own."""
    text: str
    changed: str | None
    """The text as the check changes it; None where it asks for the text as it is."""


def cases_of(check: BehaviourCheck, behaviour: Behaviour, texts: Sequence[str], given: Sequence[str]) -> list[Case]:
    """Return what a check asks about: at most `behaviour.rows` of the test split's texts, drawn at random.

    `given` is the label that the model gives to each text, where the check takes those of one label only. Raise
    InputError where there is nothing that the check's change alters.
    """
    name = title(check)
    own = own_texts(check, behaviour)
    change = change_of(check)
    if isinstance(check, Minimum) or change is None:
        return [Case(None, text, None) for text in own or ()]
    rows: Iterable[tuple[int | None, str]] = ((None, text) for text in own or ())
    if own is None:
        order = Random(f"{behaviour.seed}/{name}").sample(range(len(texts)), len(texts))
        rows = ((row, texts[row]) for row in order if wants(check, given[row]))
    changed = (
        Case(row, text, new)
        for row, text in rows
        if (new := change(text, Random(f"{behaviour.seed}/{name}/{text if row is None else row}"))) is not None
    )
    cases = list(changed if own is not None else itertools.islice(changed, behaviour.rows))
    if not cases:
        raise InputError(nothing_to_change(check, own, given))
    return cases


def wants(check: BehaviourCheck, label: str) -> bool:
    """Return whether a check takes the rows to which the model gives a label."""
    return not isinstance(check, Rewriting) or check.label in (None, label)


def nothing_to_change(check: BehaviourCheck, own: Sequence[str] | None, given: Sequence[str]) -> str:
    """Return the message on a check that has no text to act on."""
    where = f"evaluate.behaviour: the check '{title(check)}' has no rows:"
    num_rows = sum(wants(check, label) for label in given)
    chosen = (
        f" with the label '{check.label}', as the model has it," if isinstance(check, Rewriting) and check.label else ""
    )
    if own is None and not num_rows:
        return f"{where} the model gives none of {len(given):,} test rows the label that it takes; take the check out"
    whose = f"{num_rows:,} test rows{chosen}" if own is None else f"its {len(own):,} texts"
    what, way_out = LACKING[check.kind]
    return f"{where} none of {whose} has {what}; {way_out}"


def own_texts(check: BehaviourCheck, behaviour: Behaviour) -> list[str] | None:
    """Return the different texts of a check's own; None where it takes rows of the test split."""
    if check.texts is not None:
        return list(dict.fromkeys(check.texts))
    if check.templates is None:
        return None
    random = Random(f"{behaviour.seed}/{title(check)}/templates")
    return list(dict.fromkeys(filled(check.templates, check.fill or {}, at_most=behaviour.rows, random=random)))


def filled(
    templates: Sequence[str], fill: Mapping[str, Sequence[str]], *, at_most: int, random: Random
) -> Iterator[str]:
    """Yield the texts that templates make of the values of their fields; a seeded sample where they are more than
    `at_most`."""
    counts = [num_texts(template, fill) for template in templates]
    total = sum(counts)
    for number in sorted(random.sample(range(total), min(total, at_most))):
        for template, count in zip(templates, counts, strict=True):
            if number < count:
                yield made(template, fill, number)
                break
            number -= count


def made(template: str, fill: Mapping[str, Sequence[str]], number: int) -> str:
    """Return the text of one combination of values, by its number; the last field's values change the fastest."""
    values: dict[str, str] = {}
    for field in reversed(fields_of(template)):
        number, place = divmod(number, len(fill[field]))
        values[field] = fill[field][place]
    return FIELD.sub(lambda found: values[found[1]], template)
