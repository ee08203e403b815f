"""A tokenizer.json of a folder that a recipe or a user names, read and found to be usable."""

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from components.plumbing.errors import SourceError, examples


@dataclass(frozen=True)
class KnownTokenizer:
    tokenizer: Tokenizer
    unknown_id: int | None
    """The id of the unknown token; None where every text can be spelled."""


def read_tokenizer(path: Path) -> KnownTokenizer:
    """Read a tokenizer.json; raise SourceError where it is missing or broken."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.iterdir())
        raise SourceError(f"the tokenizer's folder has no {path.name}; it holds {examples(there) or 'nothing'}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise SourceError(f"{path.name} cannot be read: {error}") from error
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    return KnownTokenizer(tokenizer, unknown_id(model, tokenizer))


def unknown_id(model: dict[str, object], tokenizer: Tokenizer) -> int | None:
    """Return the id of the tokenizer's unknown token; None where it has none."""
    if isinstance(model.get("unk_id"), int):  # Unigram
        return int(str(model["unk_id"]))
    token = model.get("unk_token")
    return tokenizer.token_to_id(token) if isinstance(token, str) else None
