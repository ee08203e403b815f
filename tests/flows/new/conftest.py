from pathlib import Path

import pytest

from components.preprocess.known_tokenizer import read_tokenizer
from tests.tiny import make_tiny_tokenizer, tiny_rows

MINILM_TEXTS = [text for text, _ in tiny_rows(99)] + [
    "great face with tears of joy",
    "def return zip none else if for in k v x f g !=:(){}[]=#0123456789",
]


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json that knows English, and its letters alone."""
    path = tmp_path_factory.mktemp("english") / "tokenizer.json"
    make_tiny_tokenizer(path, MINILM_TEXTS, vocab_size=400)
    return path


@pytest.fixture(autouse=True)
def minilm(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM's tokenizer is a tiny one here, which needs no registry."""
    monkeypatch.setattr("flows.new.reading.minilm_tokenizer", lambda _: read_tokenizer(english))
