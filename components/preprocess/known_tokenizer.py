"""A tokenizer.json of a folder that a recipe or a user names, read and found to be usable."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from components.plumbing.errors import SourceError, examples

MAX_TOKEN_ID = 2**24
"""More tokens than any vocabulary has: a number above it would ask for a table of embeddings of so many rows."""
TRIAL_S = 20
TRIAL = """
import sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
for part in ("a", "A", "1", " ", "\\n", "-", "a1", "a ", "aB", "'s", "\\u00e9", "\\u4e66"):
    for end in ("", "!", "\\n", "b"):
        tokenizer.encode(part * 2000 + end)
"""
"""A program that encodes long runs, on which a regular expression that goes over them again and again never ends."""


@dataclass(frozen=True)
class KnownTokenizer:
    tokenizer: Tokenizer
    unknown_id: int | None
    """The id of the unknown token; None where every text can be spelled."""


def read_tokenizer(path: Path) -> KnownTokenizer:
    """Read a tokenizer.json; raise SourceError where it is missing or broken, or cannot be used on every text."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.iterdir())
        raise SourceError(f"the tokenizer's folder has no {path.name}; it holds {examples(there) or 'nothing'}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise SourceError(f"{path.name} cannot be read: {error}") from error
    content = path.read_text(encoding="utf-8")
    check_vocabulary(tokenizer, path.name)
    if '"Regex"' in content:
        check_patterns(path)
    return KnownTokenizer(tokenizer, unknown_id(json.loads(content)["model"], tokenizer))


def check_vocabulary(tokenizer: Tokenizer, name: str) -> None:
    """Raise SourceError where there are no tokens, or one has a number that no model has a row for."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    if not tokenizer.get_vocab_size(with_added_tokens=False):
        raise SourceError(f"{name} has an empty vocabulary; take the tokenizer of the encoder, as it was published")
    token, highest = max(vocabulary.items(), key=lambda entry: entry[1])
    if highest > MAX_TOKEN_ID:
        raise SourceError(
            f"{name} gives the token {token!r} the number {highest}; the most that is taken is {MAX_TOKEN_ID}"
        )


def check_patterns(path: Path) -> None:
    """Raise SourceError where a regular expression of the file fails on a text, or takes time without bound on it.

    It is tried in a process of its own: within the library nothing stops it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", TRIAL, str(path)], capture_output=True, timeout=TRIAL_S, check=False
        )
        failed = "fails on" if done.returncode else None
    except subprocess.TimeoutExpired:
        failed = f"takes more than {TRIAL_S} s for"
    if failed:
        raise SourceError(
            f"a regular expression of {path.name} {failed} texts of a few thousand like letters (it may try the same "
            "ones again and again, as (a+)+ does); take another tokenizer"
        )


def unknown_id(model: dict[str, object], tokenizer: Tokenizer) -> int | None:
    """Return the id of the tokenizer's unknown token; None where it has none."""
    if isinstance(model.get("unk_id"), int):  # Unigram
        return int(str(model["unk_id"]))
    token = model.get("unk_token")
    return tokenizer.token_to_id(token) if isinstance(token, str) else None
