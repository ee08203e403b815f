"""The sizes of a model that the data decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import PREDICTOR, read_json


@dataclass(frozen=True)
class Facts:
    """The sizes that a network takes from the data; 0 or empty where its task has none."""

    num_labels: int = 0
    shape: tuple[int, ...] = ()
    """The shape of one row's array."""
    vocab_size: int = 0
    """The number of tokens that the tokenizer knows."""
    context: int = 0
    """The number of tokens that the model sees at once."""
    pad_token_id: int = 0

    @property
    def reads_windows(self) -> bool:
        """True for a language model, which reads windows of one context that may span several texts."""
        return bool(self.context) and not self.num_labels


def read_facts(predictor: Path) -> Facts:
    """Read the facts from predictor.json in preprocess's folder `predictor/`."""
    settings: dict[str, Any] = read_json(predictor / PREDICTOR)
    return Facts(
        num_labels=len(settings.get("labels", ())),
        shape=tuple(settings.get("shape", ())),
        vocab_size=settings.get("vocab_size", 0),
        context=settings.get("context", settings.get("max_tokens", 0)),
        pad_token_id=settings.get("pad_token_id", 0),
    )
