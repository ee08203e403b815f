"""The checks of a text classifier's behaviour (`evaluate.behaviour`), after Ribeiro et al. 2020, 'Beyond Accuracy:
Behavioral Testing of NLP Models with CheckList' (ACL).

Checks of invariance change what should not matter: typos, case, numbers, punctuation, names, neutral. Checks of
direction change what should matter in a known way: negation, intensifiers. A check of a minimum asks for labels that
are known.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from components.params.section import Positive, Section, Share

FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")
MAX_MADE = 1_000_000  # the texts that templates may make, of which a check takes a few


def said(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write some words")
    return text


Phrase = Annotated[str, Field(max_length=20_000), AfterValidator(said)]
Phrases = Annotated[tuple[Phrase, ...], Field(min_length=1)]
Title = Annotated[str, Field(pattern=r"^\S(.{0,58}\S)?$")]


class Check(Section):
    """The settings of every check: its texts, its name, and the share of failures above which it stops the stage."""

    name: Title | None = None
    """What the check is called in results and messages, on one line; null for its kind."""
    max_failures: Share | None = None
    """The largest share of its texts that may fail; above it the stage stops. Null for no limit."""
    texts: Phrases | None = None
    """The check's own texts, all of which it takes in place of rows of the test split."""
    templates: Phrases | None = None
    """Texts with fields in braces, `A {quality} film.`, of which texts are made with every value of each field; they
    take the place of rows of the test split."""
    fill: Annotated[dict[str, Phrases], Field(min_length=1)] | None = None
    """The values of the templates' fields."""

    @property
    def of_its_own(self) -> bool:
        """Whether the check has texts of its own."""
        return self.texts is not None or self.templates is not None

    @model_validator(mode="after")
    def _can_be_made(self) -> "Check":
        if self.texts is not None and self.templates is not None:
            raise ValueError("has texts and templates; write the texts as templates without a field, or as two checks")
        if self.templates is None:
            if self.fill is not None:
                raise ValueError("has fill, but no templates whose fields it could fill; add templates, or take it out")
            return self
        fill = self.fill or {}
        used: set[str] = set()
        for template in self.templates:
            fields = fields_of(template)
            used.update(fields)
            if missing := [field for field in fields if field not in fill]:
                raise ValueError(f"templates have the field {{{missing[0]}}}, which fill gives no values")
            if num_texts(template, fill) > MAX_MADE:
                raise ValueError(
                    f"'{template[:60]}' makes {num_texts(template, fill):,} texts, and {MAX_MADE:,} are allowed; give "
                    "fewer values"
                )
        if unused := [field for field in fill if field not in used]:
            raise ValueError(f"fill has '{unused[0]}', which is the field of no template; take it out")
        return self


def fields_of(template: str) -> list[str]:
    """Return the different fields of a template, in their order; ValueError where a brace belongs to none."""
    if {"{", "}"} & set(FIELD.sub("", template)):
        raise ValueError(
            f"'{template[:60]}' has a brace that makes no field; a field is a name of small letters in braces, as "
            "{quality}"
        )
    return list(dict.fromkeys(FIELD.findall(template)))


def num_texts(template: str, fill: Mapping[str, Sequence[str]]) -> int:
    """Return how many texts a template makes: a field that comes twice has the same value in both places."""
    return math.prod(len(fill[field]) for field in fields_of(template))


class Invariance(Check):
    """The label must stay where a few letters change places (`typos`: in one word of every twenty), the letters are
    all capital or all small (`case`), whole numbers differ by at most a fifth (`numbers`), or the mark at the end is
    gone or new (`punctuation`)."""

    kind: Literal["typos", "case", "numbers", "punctuation"]


class Names(Check):
    """The label must stay where persons have other first names."""

    kind: Literal["names"]
    words: Annotated[tuple[Phrase, ...], Field(min_length=2)] | None = None
    """Names that may stand for each other; null for common English first names."""


class Neutral(Check):
    """The label must stay where a sentence that says nothing of it comes before or after the text."""

    kind: Literal["neutral"]
    sentences: Phrases | None = None
    """The sentences, of which each text gets one; null for English ones on when the text was written."""


class Rewriting(Check):
    """A check that replaces words by others, once in each text; the checks of direction derive from it."""

    pairs: Annotated[dict[Phrase, Phrase], Field(min_length=1)] | None = None
    """Words, in small letters, and what takes their place, as `is: is not`; null for English ones."""
    label: str | None = None
    """The label of the rows that are taken: those to which the model gives it. Null for rows of any."""

    @model_validator(mode="after")
    def _rewrites(self) -> "Rewriting":
        if self.label is not None and self.of_its_own:
            raise ValueError(
                "label chooses among rows of the test split, but the check has texts of its own; take it out"
            )
        for old, new in (self.pairs or {}).items():
            if old.lower() == new.lower():
                raise ValueError(f"pairs has '{old}' for itself, which changes nothing; give what takes its place")
        return self


class Negation(Rewriting):
    """The label must change, or its score fall, where a text says that something is not so."""

    kind: Literal["negation"]
    min_fall: Annotated[float, Field(gt=0, le=1)]
    """The least by which the score must fall."""


class Intensifiers(Rewriting):
    """The label must stay, and its score must not fall, where a text says the same more strongly."""

    kind: Literal["intensifiers"]
    tolerance: Share
    """The most by which the score may fall."""


class Minimum(Check):
    """Texts so plain that the model must know their label: a minimum functionality test."""

    kind: Literal["minimum"]
    label: str
    """The label of all the texts."""

    @model_validator(mode="after")
    def _has_texts(self) -> "Minimum":
        if not self.of_its_own:
            raise ValueError("has no texts; give texts, or templates with fill")
        return self


BehaviourCheck = Annotated[
    Invariance | Names | Neutral | Negation | Intensifiers | Minimum, Field(discriminator="kind")
]


class Behaviour(Section):
    """Checks of what the model does where texts are changed, or are plain."""

    seed: Annotated[int, Field(ge=0)]
    rows: Positive
    """The most rows of the test split, or texts made of templates, that one check takes."""
    checks: Annotated[tuple[BehaviourCheck, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _have_names(self) -> "Behaviour":
        names = [title(check) for check in self.checks]
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise ValueError(f"two checks are called '{twice[0]}'; give each a name of its own by the key name")
        return self

    def wanted_labels(self) -> dict[str, str]:
        """Return the labels that checks are about, each with the name of the first such check."""
        wanted: dict[str, str] = {}
        for check in self.checks:
            if isinstance(check, Rewriting | Minimum) and check.label is not None:
                wanted.setdefault(check.label, title(check))
        return wanted


def title(check: BehaviourCheck) -> str:
    """Return what a check is called: its name, or its kind, with the label where it asks for one."""
    if check.name is not None:
        return check.name
    return f"{check.kind} {check.label}" if isinstance(check, Minimum) else check.kind
