"""The cleaning of a text, one function for training and serving, so that no skew can creep in.

`clean` is idempotent and linear in the length of the text, whatever is in it. Only the standard library is needed.
"""

import functools
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_MARKS = 30
"""The most combining marks in a row that are kept, as in Unicode's stream-safe text (UAX 15): putting a longer run in
order, as normalisation does, takes quadratic time."""

MAX_CHARACTERS_PER_TOKEN = 128
"""The most characters of a text that are read for each token that a model takes; English needs about five."""

# What has a use only inside a renderer: soft hyphen, zero-width space, direction marks, byte order mark. The zero-width
# joiners stay: Persian, Indic scripts and emoji are spelled with them.
INVISIBLE = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]+")
# White space, control characters, and halves of surrogate pairs, which no encoding can carry.
BLANK = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
# All control characters but the tab and the line feed, and halves of surrogate pairs.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
BLANK_LINES = re.compile("\n{3,}")

Truncate = Literal["head", "tail", "head_tail"]
"""Which part of a text that is too long is read: its beginning, its end, or half of each."""

# A pictograph, with the marks of its form, and repetitions of the same one.
FORMS = "[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff]*"
EMOJI = re.compile(f"([\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]){FORMS}(?:\\1{FORMS})*")

# Where a letter or digit before it rules a match out, the placeholder that took the letter's place must do so too, or
# else a second cleaning finds what the first did not.
NOT_BEHIND_PLACEHOLDER = "".join(rf"(?<!\[{kind}\])" for kind in ("URL", "EMAIL", "CARD", "PHONE", "IBAN", "IP"))

# Letters of names and hosts, beyond a to z: Latin, Greek, Cyrillic. Scripts without spaces are left out.
NAME = r"a-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
TOP = r"a-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
LOCAL = rf"[{NAME}._%+-]++"
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = rf"(?:{OCTET}\.){{3}}{OCTET}(?!\d|\.[\d\[])"
# How people write an address that no program is to read: 'joe (at) example [dot] com'.
AT, DOT = r" ?[(\[{<] ?at ?[)\]}>] ?", r" ?[(\[{<] ?dot ?[)\]}>] ?"
SPELLED = re.compile(AT, re.IGNORECASE)

# Each kind begins only where its run of characters begins and takes the run whole ('++' never gives back), or is of
# bounded length: no text makes the search go over the same characters again and again.
MASKS = {
    "url": rf"(?:(?:https?|ftp)://(?:\[[0-9a-f:.]{{2,45}}\])?|{NOT_BEHIND_PLACEHOLDER}(?<![a-z0-9_.])www\.)"
    r"[^\s<>\"\[\]\x7f-\U0010ffff]*+",
    "email": rf"{NOT_BEHIND_PLACEHOLDER}(?<![{NAME}._%+-])(?:"
    rf"{LOCAL}(?:@(?:(?:[{NAME}-]++\.)+[{TOP}]{{2,}}+|localhost(?![{NAME}\[-])|\[?{IPV4}\]?)"
    rf"|{AT}(?:[{NAME}-]++(?:{DOT}| dot |\.))+[{TOP}]{{2,}}+)"
    rf"|\"[^\"\s@]{{1,64}}(?: [^\"\s@]{{1,64}}){{0,3}}\"@(?:[{NAME}-]++\.)+[{TOP}]{{2,}}+)",
    "card": r"(?<!\d)(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?P=gap)\d{1,7}"
    r"|3\d{3}(?P<amex_gap>[ -])\d{6}(?P=amex_gap)\d{4,5})(?!\d)",
    "iban": rf"{NOT_BEHIND_PLACEHOLDER}(?<![a-z0-9])"
    r"(?-i:[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)(?![a-z0-9\[])",
    "ip": rf"{NOT_BEHIND_PLACEHOLDER}(?<![\w:])(?<![\w\]]\.)(?:"
    rf"{IPV4}|(?:[0-9a-f]{{0,4}}:){{2,7}}(?:{IPV4}|[0-9a-f]{{0,4}})(?![\w:\[]))",
    # International, North American, Chinese mobile, and national with a leading zero; never a date or a span of years.
    "phone": rf"{NOT_BEHIND_PLACEHOLDER}(?<![a-z0-9_])(?<!\d[.,-])(?<!\][.,-])(?:"
    r"\+\(?\d(?:[ .()/-]{0,2}\d){7,14}"
    r"|(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-]?)[2-9]\d\d[ .-]?\d{4}"
    r"|1[3-9]\d[ -]?\d{4}[ -]?\d{4}"
    r"|00 ?[1-9]\d{0,2}(?=[ .()/-])(?:[ .()/-]{0,2}\d){6,12}|0[1-9](?:[ .-]\d\d){4}"
    r"|\(?0\d{1,4}\)?[ /-]\d{3,4}(?:[ -]?\d{2,4}){1,2}"
    r")(?!\d)",
}
FEWEST_DIGITS = re.compile(r"\d(?:[^\d]{0,2}\d){6}", re.ASCII)
PUNCTUATION = ".,;:!?)'"


def clean(
    text: str, *, unicode: Literal["NFC", "NFKC"], mask: Sequence[str], emoji: Literal["names"] | None = None
) -> str:
    """Return the text in one Unicode form, on one line, with the details that `mask` names replaced by placeholders.

    A placeholder is the name of a kind in brackets, as `[EMAIL]`. With `emoji` "names", the name that Unicode gives an
    emoji stands in its place. Cleaning a clean text changes nothing.
    """
    if not text.isascii():
        text = cut_marks(unicodedata.normalize(unicode, cut_marks(INVISIBLE.sub("", text))))
        if emoji == "names":
            text = EMOJI.sub(name_of, text)
    return hide(BLANK.sub(" ", text).strip(), mask=mask)


def clean_lines(text: str, *, unicode: Literal["NFC", "NFKC"]) -> str:
    """Return the text with its lines and paragraphs kept, for a model that writes.

    The text is in one Unicode form, without control characters and without spaces at the ends of lines, with at most
    one blank line between paragraphs. Cleaning a clean text changes nothing.
    """
    text = CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.isascii():
        text = cut_marks(unicodedata.normalize(unicode, cut_marks(INVISIBLE.sub("", text))))
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", lines)


def name_of(emoji: re.Match[str]) -> str:
    """Return the name of an emoji as words; the emoji itself where it has none."""
    name = unicodedata.name(emoji[1], "")
    return f" {name.lower()} " if name else emoji[0]


def cut(text: str, *, max_tokens: int, truncate: Truncate = "head") -> str:
    """Return the part of a clean text that is read: at most MAX_CHARACTERS_PER_TOKEN characters for each allowed token.

    This keeps the cost of a huge text small. The part begins and ends with a whole word where there is one. Cutting it
    again changes nothing.
    """
    limit = max_tokens * MAX_CHARACTERS_PER_TOKEN
    if len(text) <= limit:
        return text
    if truncate == "tail":
        return beginning(text[::-1], limit)[::-1]
    if truncate == "head_tail":
        half = (limit - 1) // 2
        return f"{beginning(text, half)} {beginning(text[::-1], half)[::-1]}"
    return beginning(text, limit)


def beginning(text: str, limit: int) -> str:
    """Return the whole words among the first `limit` characters of a longer text."""
    space = text.rfind(" ", 0, limit + 1)
    return text[: space if space > 0 else limit]


def limit(tokenizer: "Tokenizer", *, max_tokens: int, truncate: Truncate) -> None:
    """Have the tokenizer cut a text at `max_tokens`; where both ends are read, it gives all tokens to `read_of`."""
    if truncate == "head_tail":
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens, direction="left" if truncate == "tail" else "right")


def read_of(ids: Sequence[int], *, max_tokens: int, truncate: Truncate) -> Sequence[int]:
    """Return those of a text's tokens, special ones among them, that are read.

    Both ends are half of `max_tokens` each (Sun et al. 2019, "How to fine-tune BERT for text classification?").
    """
    if truncate != "head_tail" or len(ids) <= max_tokens:
        return ids
    num_first = max_tokens // 2
    return [*ids[:num_first], *ids[len(ids) - (max_tokens - num_first) :]]


def cut_marks(text: str) -> str:
    """Return the text with at most MAX_MARKS combining marks in a row."""
    return long_run_of_marks().sub(r"\1", text)


@functools.cache
def long_run_of_marks() -> re.Pattern[str]:
    # A character counts as a mark where its decomposition begins with one: so it is when normalisation has taken place.
    marks = [
        chr(code)
        for code in range(0x300, 0x20000)
        if unicodedata.combining(unicodedata.normalize("NFKD", chr(code))[0])
    ]
    some = "[" + "".join(marks) + "]"
    return re.compile(f"({some}{{{MAX_MARKS}}}){some}++")


def hide(text: str, *, mask: Sequence[str]) -> str:
    """Return the text with the details that `mask` names (a kind of MASKS each) replaced by placeholders."""
    has_digits = FEWEST_DIGITS.search(text) is not None if {"phone", "card", "iban"} & set(mask) else False
    possible: dict[str, Callable[[], bool]] = {
        "url": lambda: "://" in text or "www." in text.lower(),
        "email": lambda: "@" in text or SPELLED.search(text) is not None,
        "card": lambda: has_digits,
        "iban": lambda: has_digits,
        "ip": lambda: text.count(".") > 2 or text.count(":") > 1,
        "phone": lambda: has_digits,
    }
    kinds = tuple(kind for kind in MASKS if kind in mask and possible[kind]())
    return pattern_of(kinds).sub(placeholder, text) if kinds else text


@functools.cache
def pattern_of(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern for all kinds of details.

    One scan from left to right keeps a kind from finding parts of what another kind replaced.
    """
    choices = "|".join(f"(?P<{kind}>{MASKS[kind]})" for kind in kinds)
    return re.compile(choices, re.ASCII | re.IGNORECASE)


def placeholder(found: re.Match[str]) -> str:
    """Return the placeholder of a match, or the match itself where it turns out to be no such detail."""
    text, kind = found[0], str(found.lastgroup)
    if kind == "card":
        return "[CARD]" if has_luhn_checksum(text) else text
    if kind == "iban":
        return "[IBAN]" if has_iban_checksum(text) else text
    if kind == "ip":
        return "[IP]" if is_address(text) else text
    if kind == "url":
        address = text.rstrip(PUNCTUATION)
        has_host = address.lower() not in ("http://", "https://", "ftp://", "www")
        return "[URL]" + text[len(address) :] if has_host else text
    return f"[{kind.upper()}]"


def has_luhn_checksum(text: str) -> bool:
    """Return whether the digits of `text` end with the check digit of payment cards (ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def has_iban_checksum(text: str) -> bool:
    """Return whether the check digits of an account's number (ISO 13616) are right."""
    written = text.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in written[4:] + written[:4])) % 97 == 1


def is_address(text: str) -> bool:
    """Return whether the text is an address of a machine, and not a time of day or a mark such as '::'."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(character.isdigit() for character in text)
