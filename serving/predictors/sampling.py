"""The choice of the next token, drawn from a model's logits by the settings of a request. Only numpy is needed.

The logits are divided by the temperature, then the `top_k` likeliest tokens are kept (Fan et al. 2018), then the fewest
likeliest of those whose probabilities sum to `top_p` (Holtzman et al. 2020). One number is drawn for each token, from
PCG64 of the request's seed: the same seed gives the same answer, whoever else asks.

Shapes: V tokens of the vocabulary, K tokens that are drawn from.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.predictors import MAX_SEED

MAX_STOPS = 8
MAX_STOP_LENGTH = 100


class RequestError(ValueError):
    """A request that cannot be answered; the message has what is wrong, the value seen, what is allowed."""


@dataclass(frozen=True)
class Sampling:
    """The settings of a request that say how its answer is drawn, and where it ends.

    Raise RequestError where a value is out of range.
    """

    max_tokens: int
    """The most tokens of the answer."""
    temperature: float
    """The temperature: 0 takes the likeliest token each time; 1 draws from the model's own probabilities."""
    top_k: int
    """The number of likeliest tokens that are drawn from; 0 for all."""
    top_p: float
    """The probability that the fewest likeliest tokens, those drawn from, reach together; 1 for all."""
    seed: int
    stop: tuple[str, ...]
    """The texts before which the answer ends."""

    def __post_init__(self) -> None:
        require_integer("max_tokens", self.max_tokens, low=1)
        require_integer("top_k", self.top_k, low=0)
        require_integer("seed", self.seed, low=0, high=MAX_SEED)
        if not is_number(self.temperature) or self.temperature < 0:
            raise RequestError(f"temperature is {shown(self.temperature)}; it must be a number from 0 on")
        if not is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise RequestError(f"top_p is {shown(self.top_p)}; it must be a number above 0, at most 1")
        if len(self.stop) > MAX_STOPS:
            raise RequestError(f"stop has {len(self.stop)} texts; at most {MAX_STOPS} are taken")
        for text in self.stop:
            if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_LENGTH:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise RequestError(f"stop has {shown(text)}; each must be a text of 1 to {MAX_STOP_LENGTH} characters")


def require_integer(name: str, value: object, *, low: int, high: int | None = None) -> None:
    """Raise RequestError where a value is no integer from `low` to `high`, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        allowed = f"from {low} on" if high is None else f"from {low} to {high}"
        raise RequestError(f"{name} is {shown(value)}; it must be an integer {allowed}")


def is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float is near to
        return False


def shown(value: object) -> str:
    """Return a value as a message shows it, cut to 40 characters."""
    return repr(value)[:40]


def generator_of(seed: int) -> np.random.Generator:
    """Return the random number generator of one request."""
    return np.random.Generator(np.random.PCG64(seed))


def next_token(logits: NDArray[np.float32], sampling: Sampling, generator: np.random.Generator) -> int:
    """Return the id of the next token, drawn from the logits (V,)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    kept, probability = distribution(
        logits, temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p
    )
    cumulated = probability.cumsum()
    drawn = np.searchsorted(cumulated, generator.random() * cumulated[-1], side="right")
    return int(kept[min(int(drawn), len(kept) - 1)])


def distribution(
    logits: NDArray[np.float32], *, temperature: float, top_k: int, top_p: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the token ids (K,) that are drawn from, and their probabilities (K,), which sum to 1.

    Where not all tokens are kept, the likeliest come first; of tokens that are equally likely, the lower id comes
    first.
    """
    kept = np.arange(len(logits))
    if 0 < top_k < len(logits):
        least = np.partition(logits, len(logits) - top_k)[len(logits) - top_k]
        kept = np.flatnonzero(logits >= least)  # more than top_k where tokens are equally likely
        kept = kept[np.argsort(-logits[kept], kind="stable")][:top_k]
    likely = logits[kept].astype(np.float64)
    with np.errstate(over="ignore"):  # next to no temperature: all but the likeliest are infinitely less likely
        weight = np.exp((likely - likely.max()) / temperature)
    probability = weight / weight.sum()
    if top_p < 1:
        # Those below this sum to less than 1 - top_p, whatever they are, and need not be put in order.
        candidates = np.flatnonzero(probability >= (1 - top_p) / len(kept))
        order = candidates[np.argsort(-probability[candidates], kind="stable")]
        needed = int(np.searchsorted(probability[order].cumsum(), top_p)) + 1
        kept, probability = kept[order[:needed]], probability[order[:needed]]
        probability = probability / probability.sum()
    return kept, probability
