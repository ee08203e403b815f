import unicodedata
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.predictors.text import MAX_MARKS, clean, cut, has_luhn_checksum

ALL = ("email", "phone", "card", "iban", "ip", "url")
NUM_CHARACTERS = 10_000_000

# Pieces that lie in wait for each other: ends of masks, placeholders, and marks that move when they are put in order.
PIECES = [
    "a", "x.co", "@", "b.com", ".", ",", ":", "/", "_", "-", " ", "\n", "(", ")", "[", "]", "<", '"', "5", "151", "223",
    "555", "+49", "2234567", "4111111111111111", "http://", "www.", "[URL]", "[EMAIL]", "[PHONE]", "\u0301", "\u0315",
    "(at)", "[at]", " dot ", "[dot]", "localhost", "10.0.0.1", "::1", "fe80:", "DE89370400440532013000",
    "\U0001f602", "\ufe0f",
    "\u0344", "\u0f73", "\u200b", "\uff0c", "\u1100", "\u1161", "\u09c7", "\u09be", "\ufdfa", "\u8c22", "\ud800",
]  # fmt: skip


def cleaned(text: str) -> str:
    return clean(text, unicode="NFKC", mask=ALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to Joe.Smith+x@mail.example.co.uk.", "write to [EMAIL]."),
        ("see https://example.com/a?b=joe@x.org, then", "see [URL], then"),
        ("(www.example.org)", "([URL])"),
        ("+49 151 1234 5678", "[PHONE]"),
        ("call (555) 223-4567 or 555.223.4567", "call [PHONE] or [PHONE]"),
        ("1-800-555-2345!", "[PHONE]!"),
        ("020 7946 0958", "[PHONE]"),
        ("4111 1111 1111 1111 and 4111111111111111", "[CARD] and [CARD]"),
        ("3782 822463 10005", "[CARD]"),
        ("me@localhost, root@[10.0.0.1] or root@10.0.0.1.", "[EMAIL], [EMAIL] or [EMAIL]."),
        ('"john q public"@example.com', "[EMAIL]"),
        ("joe (at) example (dot) com, joe[at]example.co.uk!", "[EMAIL], [EMAIL]!"),
        ("j\u00f6rg@m\u00fcller.de, \u0438\u0432@\u043f\u043e\u0447\u0442\u0430.\u0440\u0444", "[EMAIL], [EMAIL]"),
        ("from 192.168.0.1:8080, fe80::1ff:fe23:4567:890a and ::1", "from [IP]:8080, [IP] and [IP]"),
        ("http://[::1]:8080/x or ftp://[2001:db8::7]", "[URL] or [URL]"),
        ("DE89 3704 0044 0532 0130 00 please; GB82WEST12345698765432", "[IBAN] please; [IBAN]"),
        ("00 44 20 7946 0958, 06 12 34 56 78", "[PHONE], [PHONE]"),
        ("\u7535\u8bdd13812345678\uff0c\u90ae", "\u7535\u8bdd[PHONE],\u90ae"),
        ("\u90ae\u7bb1joe@x.com\u8c22", "\u90ae\u7bb1[EMAIL]\u8c22"),
        ("http://x.com/a\u8c22\u8c22", "[URL]\u8c22\u8c22"),
        ("\uff2a\uff4f\uff45\uff20\uff58\uff0e\uff43\uff4f\uff4d", "[EMAIL]"),
    ],
)  # fmt: skip
def test_personal_data_is_masked(text: str, expected: str) -> None:
    assert cleaned(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1999-2001", "2020-05-12", "12.05.2020", "3.1415926535", "1,234,567,890", "agent 007", "4111 1111 1111 1112",
        "joe@home", "at 10:30", "at 10:30:45", "v1.2.3.4", "1.2.3.4.5", "a::b", "::", "DE89 3704 0044 0532 0130 01",
        "good (at) chess", "http://", "www....", "10/10 would watch", "a@b", "555 1234",
    ],
)  # fmt: skip
def test_what_only_looks_alike_stays(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize("kind", ALL)
def test_only_what_the_recipe_names_is_masked(kind: str) -> None:
    text = "joe@x.com +49 151 1234 5678 4111111111111111 https://x.org/ 10.0.0.1 DE89370400440532013000"
    assert clean(text, unicode="NFC", mask=()) == text
    assert clean(text, unicode="NFC", mask=(kind,)).count("[") == 1
    assert f"[{kind.upper()}]" in clean(text, unicode="NFC", mask=(kind,))


def test_white_space_and_control_characters_become_one_space() -> None:
    assert cleaned(" a\r\n\tb\x00c\u00a0\u2028d\x85 \ud800e ") == "a b c d e"


def test_invisible_characters_go_and_joiners_stay() -> None:
    assert cleaned("\ufeffso\u00adft\u200b \u202eend") == "soft end"
    assert cleaned("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"


def test_the_unicode_form_is_the_recipes() -> None:
    assert clean("e\u0301 \ufb01\u00b2", unicode="NFC", mask=()) == "\u00e9 \ufb01\u00b2"
    assert clean("e\u0301 \ufb01\u00b2", unicode="NFKC", mask=()) == "\u00e9 fi2"


def test_a_long_run_of_marks_is_cut() -> None:
    assert clean("x" + "\u0315" * 100 + "y", unicode="NFC", mask=()) == "x" + "\u0315" * MAX_MARKS + "y"


@pytest.mark.parametrize("unicode", ["NFC", "NFKC"])
@settings(max_examples=400, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_cleaning_twice_is_cleaning_once(text: str, unicode: Literal["NFC", "NFKC"]) -> None:
    for mask in (ALL, (), ("email",), ("phone", "url")):
        once = clean(text, unicode=unicode, mask=mask)
        assert clean(once, unicode=unicode, mask=mask) == once
    named = clean(text, unicode=unicode, mask=ALL, emoji="names")
    assert clean(named, unicode=unicode, mask=ALL, emoji="names") == named


def test_cleaning_twice_is_cleaning_once_for_every_character_that_changes() -> None:
    characters = [chr(code) for code in range(0x30000) if unicodedata.category(chr(code))[0] in "CMZ"]
    characters += [chr(code) for code in range(0x30000) if unicodedata.decomposition(chr(code))]
    assert len(characters) > 10_000
    for character in characters:
        if unicodedata.category(character) == "Cn":
            continue
        once = clean(f"a{character}b", unicode="NFKC", mask=ALL)
        assert clean(once, unicode="NFKC", mask=ALL) == once, f"U+{ord(character):04X}"


@pytest.mark.timeout(120, method="thread")  # going over the same characters again would take days, deep in the library
@pytest.mark.parametrize(
    "piece",
    [
        "1", "1 ", "a@", "a(at)", "1.1.", "1:", "DE89 ", '"a ', "a@" + "x." * 5_000, "+1", "(555) ", "\u0315\u0300",
        "\u0f73", "http://", "www.,", "-", "\u8c22",
    ],
    ids=[
        "1", "1_", "a@", "at", "ip", "ip6", "iban", "quote", "a@x.x", "+1", "phone", "marks", "tibetan", "http", "www",
        "dash", "chinese",
    ],
)  # fmt: skip
def test_a_text_of_ten_million_characters_takes_linear_time(piece: str) -> None:
    text = piece * (NUM_CHARACTERS // len(piece))
    assert len(cleaned(text)) <= len(text)


@pytest.mark.parametrize(
    ("number", "is_valid"),
    [("4111111111111111", True), ("5500 0000 0000 0004", True), ("4111111111111112", False), ("79927398713", True)],
)
def test_luhn_checksum(number: str, is_valid: bool) -> None:
    assert has_luhn_checksum(number) is is_valid


def test_a_text_within_the_limit_is_not_cut() -> None:
    text = "word " * 100 + "end"
    assert cut(text, max_tokens=4) == text


def test_a_long_text_is_cut_behind_a_word_and_only_once() -> None:
    text = "word " * 1_000
    short = cut(text, max_tokens=4)
    assert 4 * 4 <= len(short) <= 4 * 128
    assert short.endswith("word")
    assert text.startswith(short)
    assert cut(short, max_tokens=4) == short


@pytest.mark.parametrize("truncate", ["tail", "head_tail"])
def test_a_long_text_is_cut_to_its_end_or_to_both_ends(truncate: Literal["tail", "head_tail"]) -> None:
    text = " ".join(f"w{number}" for number in range(1_000))
    short = cut(text, max_tokens=4, truncate=truncate)
    assert 4 * 120 <= len(short) <= 4 * 128
    assert set(short.split()) <= set(text.split())
    assert short.endswith(" w999")
    assert short.startswith("w0 ") is (truncate == "head_tail")
    assert cut(short, max_tokens=4, truncate=truncate) == short


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("great\U0001f602\U0001f602!", "great face with tears of joy !"),
        ("\u2764\ufe0f\u2764 \U0001f44d\U0001f3fd", "heavy black heart thumbs up sign"),
        ("5 \u20ac, \u00a9 me", "5 \u20ac, \u00a9 me"),
    ],
)
def test_emoji_are_read_by_their_names(text: str, expected: str) -> None:
    assert clean(text, unicode="NFC", mask=ALL, emoji="names") == expected
    assert clean(expected, unicode="NFC", mask=ALL, emoji="names") == expected


def test_a_long_text_without_spaces_is_cut_at_the_limit() -> None:
    assert cut("\u8c22" * 5_000, max_tokens=4) == "\u8c22" * 512
