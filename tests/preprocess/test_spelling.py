import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.errors import SourceError
from components.preprocess.known_tokenizer import KnownTokenizer, read_tokenizer
from components.preprocess.spelling import Cause, lacking, spell
from tests.tiny import make_tiny_tokenizer

WORDS = ["it was late again", "мир и дом", "a b c d e f g h i j k l m n o p q r s t u v w x y z"]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownTokenizer:
    """A tokenizer of a few words and of the letters of two alphabets."""
    path = tmp_path_factory.mktemp("known") / "tokenizer.json"
    make_tiny_tokenizer(path, WORDS, vocab_size=400)
    return read_tokenizer(path)


Change = Callable[[dict[str, Any]], object]


def without_end(pattern: str) -> Change:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return lambda file: file.update(pre_tokenizer=split)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file["model"].update(vocab={}) or file.update(added_tokens=[]), "has an empty vocabulary"),
        (lambda file: file["model"]["vocab"].update(late=4_000_000_000), "'late' the number 4000000000; the most that"),
        (without_end("(a+)+$"), "a regular expression of tokenizer.json (fails on|takes more than 20 s for) texts of"),
    ],
)
def test_tokenizer_that_no_text_can_be_read_with_is_refused(
    known: KnownTokenizer, tmp_path: Path, change: Change, said: str
) -> None:
    file = json.loads(known.tokenizer.to_str())
    change(file)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file))
    with pytest.raises(SourceError, match=said):
        read_tokenizer(path)


def test_regular_expression_that_ends_is_taken(known: KnownTokenizer, tmp_path: Path) -> None:
    file = json.loads(known.tokenizer.to_str())
    without_end(r"'s|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")(file)
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    assert read_tokenizer(tmp_path / "tokenizer.json").unknown_id == known.unknown_id


def test_words_that_are_spelled_letter_by_letter_are_not_read(known: KnownTokenizer) -> None:
    said = spell(known, ["it was late", "дим дом", "это"])
    assert said.lengths == (3, 4, 1)
    assert (said.num_unknown, said.num_letters, said.num_unread) == (1, 9 + 6 + 3, 3 + 3)
    assert spell(known, []).unknown_share == 0


def test_long_words_in_ascii_are_unknown_but_of_no_language(known: KnownTokenizer) -> None:
    said = spell(known, ["late " + "x" * 101])
    assert (said.num_unknown, said.unread_share) == (1, 0)


@pytest.mark.parametrize(
    ("text", "cause", "examples"),
    [
        ("late😂 again😂 🔥", "symbols", ["😂", "🔥"]),
        ("这 书 这 late", "letters", ["这", "书"]),
        ("late 😂 क्या क्या", "letters", ["क", "य", "ा"]),
        ("x" * 101 + " 😂 " + "y" * 101, "words", ["x" * 101, "y" * 101]),
    ],
)
def test_cause_of_unknown_tokens_is_told(known: KnownTokenizer, text: str, cause: Cause, examples: list[str]) -> None:
    assert lacking(known, [text]) == (cause, examples)
