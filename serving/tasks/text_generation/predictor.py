"""A prompt in, text out, token by token: the one path from a text to what a language model makes of it.

`evaluate`, `compress` and `package` judge models through it, and the service answers with it, so that what is measured
is what is served. It needs onnxruntime, tokenizers and numpy only. A folder that it loads holds `model.onnx`,
`tokenizer.json` and `predictor.json`.

Every family's graph is driven alike, by the names of its inputs and outputs:

    input_ids      (1, T)  the next tokens, of any number
    position       (1,)    how many came before; only of a model whose state holds at most `context` tokens
    state_X                what the model keeps of the tokens before; zeros at first
    logits         (1, T, V)
    next_state_X           takes the place of state_X (an LSTM's state)
    new_state_X            T rows that are written into state_X from `position` on, along its second to last axis (keys
                           and values of attention): the state is never copied, so a token costs the same at every
                           position

Where a state of `context` tokens is full, the model reads the last half of the context anew, from position 0, and goes
on: one longer step every `context / 2` tokens.

Shapes: T tokens, V tokens of the vocabulary.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from serving.bundle import reading
from serving.predictors.sampling import RequestError, Sampling, generator_of, next_token
from serving.predictors.session import open_session
from serving.predictors.text import MAX_CHARACTERS_PER_TOKEN, clean_lines

ROUTE = "/generate"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
SETTINGS = "predictor.json"
MAX_WAITING = 16  # tokens that may wait to be spelled: bytes that by then are no character never become one
NUM_PROMPT_TOKENS_SHOWN = 8  # of the prompt's end, beside which the first tokens of an answer are spelled

Arrays = dict[str, NDArray[Any]]
FinishReason = Literal["stop", "length", "end"]
"""The reason why an answer ended: a stop text came, `max_tokens` were drawn, or the model ended the text."""


@dataclass(frozen=True)
class PredictorSettings:
    """The contents of predictor.json: the making of tokens from a text."""

    unicode: Literal["NFC", "NFKC"]
    context: int
    """The number of tokens that the model sees at once."""
    end_of_text_id: int


class Summary(TypedDict):
    """The figures of an answer that is complete."""

    finish_reason: FinishReason
    num_prompt_tokens: int
    num_tokens: int
    seed: int


class GeneratedText(Summary):
    """An answer in one piece, with its summary."""

    text: str


class Step(Protocol):
    """A model as a function of the tokens that come next and of its state."""

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the inputs `state_X`, by their names."""
        ...

    @property
    def takes_position(self) -> bool: ...

    def run(self, inputs: Arrays) -> Arrays:
        """Return every output of the model by its name."""
        ...


def load_settings(path: Path) -> PredictorSettings:
    """Return the settings in a predictor.json."""
    with reading(path):
        raw = json.loads(path.read_text(encoding="utf-8"))
        return PredictorSettings(unicode=raw["unicode"], context=raw["context"], end_of_text_id=raw["end_of_text_id"])


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, which neither cuts nor pads.

    The name of a special token in a text is read as a text like any other.
    """
    with reading(path):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


class OnnxStep:
    """The step of an ONNX model, which uses one core per call."""

    def __init__(self, path: Path) -> None:
        self.session = open_session(path)
        inputs = {entry.name: tuple(entry.shape) for entry in self.session.get_inputs()}
        self.state_shapes = {name: shape for name, shape in inputs.items() if name.startswith("state_")}
        self.takes_position = "position" in inputs
        self.outputs = [entry.name for entry in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        outputs = map(np.asarray, self.session.run(self.outputs, inputs))
        return dict(zip(self.outputs, outputs, strict=True))


class Reading:
    """A model at some place of one text, from which it reads on."""

    def __init__(self, step: Step, *, context: int) -> None:
        self.step, self.context = step, context
        self.seen: list[int] = []
        """The last tokens that were read, at most `context`."""
        self.restart()

    def restart(self) -> None:
        self.state: Arrays = {name: np.zeros(shape, np.float32) for name, shape in self.step.state_shapes.items()}
        self.position = 0

    def read(self, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits that follow each token, piece by piece, (T, V) each."""
        start = 0
        while start < len(ids):
            again: list[int] = []
            if self.step.takes_position and self.position == self.context:
                again = self.seen[-(self.context // 2) :]
                self.restart()
            room = self.context - (self.position if self.step.takes_position else 0) - len(again)
            piece = ids[start : start + room]
            logits = self.advance([*again, *piece])
            self.seen = [*self.seen, *piece][-self.context :]
            start += len(piece)
            yield logits[len(again) :]

    def last(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits that follow the last of the tokens, (V,)."""
        *_, piece = self.read(ids)
        return piece[-1]

    def advance(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens that the state has room for; return the logits that follow each, (T, V)."""
        inputs: Arrays = {"input_ids": np.array([ids], np.int64), **self.state}
        if self.step.takes_position:
            inputs["position"] = np.array([self.position], np.int64)
        outputs = self.step.run(inputs)
        end = self.position + len(ids)
        for name, state in self.state.items():
            if f"next_{name}" in outputs:
                self.state[name] = outputs[f"next_{name}"]
            else:
                state[..., self.position : end, :] = outputs[f"new_{name}"]
        self.position = end
        return outputs["logits"][0]


class Spelling:
    """The spelling of tokens as text while they come; what may be half of a character waits for the next token.

    A token is spelled beside those before it: in some tokenizers only these tell whether it begins a word.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.ids = list(before)
        self.spelled = tokenizer.decode(self.ids)

    def add(self, token: int) -> str:
        """Take a token; return the text that is now complete."""
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(self.ids) <= MAX_WAITING:
            return ""
        return self.given(text)

    def rest(self) -> str:
        """Return the text that is left at the end, where half a character becomes a replacement character."""
        return self.given(self.tokenizer.decode(self.ids))

    def given(self, text: str) -> str:
        new = text[len(self.spelled) :]
        self.ids = self.ids[-1:]  # from here on, so that a token costs the same wherever it stands
        self.spelled = self.tokenizer.decode(self.ids)
        return new


class Stops:
    """A filter that lets text through up to the first stop text; what may be the beginning of one waits."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops, self.held, self.found = stops, "", False

    def add(self, text: str) -> str:
        """Take a text; return the text that can be given now."""
        self.held += text
        ends = [place for place in (self.held.find(stop) for stop in self.stops) if place >= 0]
        self.found = bool(ends)
        given = min(ends) if ends else len(self.held) - self.possible()
        piece, self.held = self.held[:given], self.held[given:]
        return piece

    def possible(self) -> int:
        """Return the length of the longest end of the held text that a stop text begins with."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        for length in range(min(longest, len(self.held)), 0, -1):
            if any(stop.startswith(self.held[-length:]) for stop in self.stops):
                return length
        return 0


class Generation:
    """The answer to one prompt, made while it is iterated over: pieces of text that join to the whole.

    There is a piece for each token, empty where the text waits for the next one, so that whoever iterates can stop at
    any token. `finish_reason` is there once it is through.
    """

    def __init__(self, model: "TextGenerator", prompt_ids: Sequence[int], sampling: Sampling) -> None:
        self.model, self.prompt_ids, self.sampling = model, prompt_ids, sampling
        self.finish_reason: FinishReason | None = None
        self.num_tokens = 0
        self.pieces = self.generate()

    def __iter__(self) -> Iterator[str]:
        return self.pieces

    def __next__(self) -> str:
        return next(self.pieces)

    def answer(self) -> GeneratedText:
        """Return the whole answer, made to its end."""
        text = "".join(self)
        return GeneratedText(text=text, **self.summary())

    def summary(self) -> Summary:
        """Return how the answer ended, and how long it is; call it only once the answer is complete."""
        assert self.finish_reason is not None
        return Summary(
            finish_reason=self.finish_reason,
            num_prompt_tokens=len(self.prompt_ids),
            num_tokens=self.num_tokens,
            seed=self.sampling.seed,
        )

    def generate(self) -> Iterator[str]:
        settings, sampling = self.model.settings, self.sampling
        reading = Reading(self.model.step, context=settings.context)
        spelling = Spelling(self.model.tokenizer, self.prompt_ids[-NUM_PROMPT_TOKENS_SHOWN:])
        stops, generator = Stops(sampling.stop), generator_of(sampling.seed)
        logits = reading.last([settings.end_of_text_id, *self.prompt_ids])
        while True:
            token = next_token(logits, sampling, generator)
            if token == settings.end_of_text_id:
                self.finish_reason = "end"
                break
            self.num_tokens += 1
            yield stops.add(spelling.add(token))
            if stops.found:
                self.finish_reason = "stop"
                return
            if self.num_tokens == sampling.max_tokens:
                self.finish_reason = "length"
                break
            logits = reading.last([token])
        yield stops.add(spelling.rest())
        if stops.found:
            self.finish_reason = "stop"
        else:
            yield stops.held


class TextGenerator:
    """A tokenizer and a model's step, which read and write texts."""

    def __init__(self, *, tokenizer: Tokenizer, settings: PredictorSettings, step: Step, threads: int) -> None:
        """`threads` texts are read or written at once."""
        self.tokenizer, self.settings, self.step = tokenizer, settings, step
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="generator")

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> "TextGenerator":
        """Return the generator of the compressed model in `folder`."""
        return cls(
            tokenizer=load_tokenizer(folder / TOKENIZER),
            settings=load_settings(folder / SETTINGS),
            step=OnnxStep(folder / MODEL),
            threads=threads,
        )

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        stop: Sequence[str] = (),
    ) -> Generation:
        """Return the generation of the text after `prompt`, which the model reads as the beginning of a text.

        Nothing is computed before the first piece is asked for. Raise RequestError where an argument is invalid.
        """
        sampling = Sampling(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=tuple(stop)
        )
        return Generation(self, self.encode(prompt), sampling)

    def encode(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt; raise RequestError where it cannot be read."""
        return encode_prompt(prompt, tokenizer=self.tokenizer, settings=self.settings, max_tokens=self.settings.context)

    def answers(self, requests: Sequence[Mapping[str, Any]]) -> list[GeneratedText]:
        """Return the answers to several requests (the arguments of `generate`), as many at once as there are
        threads."""
        return list(self.pool.map(lambda request: self.generate(**request).answer(), requests))

    def read(
        self, documents: Sequence[Sequence[int]], figures: Callable[[NDArray[np.float32], NDArray[np.int64]], Any]
    ) -> list[list[Any]]:
        """Return, for each document, `figures` of each piece: its logits (T, V), and the token ids that came (T,).

        Each token is predicted from `context / 2` to `context - 1` tokens before it, or from all where there are fewer.
        """

        def read_one(ids: Sequence[int]) -> list[Any]:
            reading = Reading(self.step, context=self.settings.context)
            found: list[Any] = []
            start = 0
            for logits in reading.read([self.settings.end_of_text_id, *ids[:-1]] if len(ids) else []):
                found.append(figures(logits, np.asarray(ids[start : start + len(logits)], np.int64)))
                start += len(logits)
            return found

        return list(self.pool.map(read_one, documents))

    def log2_probabilities(self, documents: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Return the log2-probability of each token of each document."""
        return [np.concatenate([np.zeros(0), *pieces]) for pieces in self.read(documents, log2_probability)]


def encode_prompt(prompt: str, *, tokenizer: Tokenizer, settings: PredictorSettings, max_tokens: int) -> list[int]:
    """Return the token ids of a prompt.

    Raise RequestError where it is empty, too long, or has characters that the tokenizer does not know.
    """
    most = min(max_tokens, settings.context - 1)  # the token before it takes one place
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise RequestError("prompt holds half of a surrogate pair, which is no character")
    if len(prompt) > most * MAX_CHARACTERS_PER_TOKEN:
        raise RequestError(
            f"prompt has {len(prompt)} characters; at most {most} tokens are taken, of {MAX_CHARACTERS_PER_TOKEN} "
            f"characters at most"
        )
    text = clean_lines(prompt, unicode=settings.unicode)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    if unknown := unknown_characters(text, tokenizer, encoding):
        listed = ", ".join(repr(character) for character in unknown[:5])
        raise RequestError(f"prompt has characters that the model does not know: {listed}; leave them out")
    if not encoding.ids:
        raise RequestError("prompt is empty; send the beginning of a text")
    if len(encoding.ids) > most:
        raise RequestError(f"prompt has {len(encoding.ids)} tokens; at most {most} are taken")
    return encoding.ids


def unknown_characters(text: str, tokenizer: Tokenizer, encoding: Any) -> list[str]:
    """Return the characters that became the unknown token or no token at all, each once, in order; white space is left
    out."""
    unk: str | None = getattr(tokenizer.model, "unk_token", None)
    known = np.zeros(len(text), bool)
    for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
        if token != unk:
            known[start:end] = True
    return list(dict.fromkeys(text[place] for place in np.flatnonzero(~known) if not text[place].isspace()))


def log2_probability(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log2-probability of each token that came, (T,), from the logits (T, V)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, dtype=np.float64)
    return (shifted[np.arange(len(tokens)), tokens] - np.log(total)) / math.log(2)
