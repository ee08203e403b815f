"""POST /generate: a prompt in, text out, as server-sent events token by token, or in one piece.

A request holds one of `threads` slots from its first token to its last; one that would wait for a slot for longer
than `max_latency_ms` is turned away with 503. A client that goes away is computed for no longer.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any

from serving.endpoint import Check, Pair, Question, Refused, hashed, media_type
from serving.overload.backlog import Backlog
from serving.overload.slots import Slots
from serving.predictors import MAX_SEED
from serving.predictors.sampling import MAX_STOP_LENGTH, MAX_STOPS, RequestError, Sampling, shown
from serving.predictors.text import MAX_CHARACTERS_PER_TOKEN
from serving.tabular import Answering, Column, Kind, Parameter, Table
from serving.tasks.examples import MOST, named, rank
from serving.tasks.text_generation.predictor import (
    ROUTE,
    SETTINGS,
    TOKENIZER,
    Generation,
    TextGenerator,
    encode_prompt,
    load_settings,
    load_tokenizer,
)

__all__ = [
    "IS_STREAMED",
    "PACKAGES",
    "ROUTE",
    "Limits",
    "example",
    "examples",
    "how_to_ask",
    "is_last",
    "joined",
    "make_answering",
    "make_api",
    "make_check",
    "max_bytes",
    "pairs",
    "questions",
    "rows_of",
    "table",
    "what_it_is",
]

IS_STREAMED = True
LAST_EVENT = b'"finish_reason"'  # its own quotes are escaped where they are in a text
PACKAGES = ("tokenizers",)
WARM_UP = {"prompt": "A", "max_tokens": 2, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0}
MAX_BYTES_PER_CHARACTER = 12  # of JSON: an escaped character beyond the basic plane
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop")
KEYS = ("prompt", *SAMPLING, "stream")
END: Any = object()


@dataclass(frozen=True)
class Limits:
    """The limits of the service."""

    threads: int
    """The number of requests computed at once."""
    max_prompt_tokens: int
    max_new_tokens: int
    """The most tokens of one answer."""
    max_requests: int
    """The most whole requests waiting or computed at once; the next one is turned away."""
    max_read_ms: int
    """The most milliseconds that the headers of a request may take to arrive, then its body, and that its answer may
    stay unread."""
    max_latency_ms: int
    """The most milliseconds that a request may wait for a slot; one that would wait longer is turned away."""


def make_api(folder: Path, limits: Limits, backlog: Backlog) -> type[Any]:
    """Return the class that BentoML serves."""
    del backlog  # a request is not done row by row
    import bentoml
    from pydantic import Field
    from starlette.responses import StreamingResponse

    class Generator:
        def __init__(self) -> None:
            self.model = TextGenerator.load(folder, threads=limits.threads)
            self.model.answers([WARM_UP])
            self.slots = Slots(limits.threads, max_latency_ms=limits.max_latency_ms)

        @bentoml.api(route=ROUTE)
        async def generate(
            self,
            prompt: str,
            max_tokens: Annotated[int, Field(ge=1, le=limits.max_new_tokens)] = limits.max_new_tokens,
            temperature: Annotated[float, Field(ge=0)] = 1.0,
            top_k: Annotated[int, Field(ge=0)] = 0,
            top_p: Annotated[float, Field(gt=0, le=1)] = 1.0,
            seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None,
            stop: Annotated[
                list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]], Field(max_length=MAX_STOPS)
            ] = [],  # noqa: B006
            stream: bool = True,
        ) -> dict[str, Any]:
            """Return the text that the model writes after the prompt."""
            assert seed is not None  # the check has drawn one
            generation = self.model.generate(
                prompt, max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=stop
            )
            answer = self.answer(generation, stream=stream)
            await anext(answer)  # that no slot is free must be known before an answer is begun
            return StreamingResponse(  # pyright: ignore[reportReturnType]: what is described here is what it holds
                answer,
                media_type="text/event-stream" if stream else "application/json",
                headers={"cache-control": "no-store"},
            )

        async def answer(self, generation: Generation, *, stream: bool) -> AsyncGenerator[str]:
            """Yield the parts of the answer, made on the predictor's threads.

            The first part is empty, and says that a slot is taken.
            """
            async with self.slots:
                yield ""
                texts: list[str] = []
                loop = asyncio.get_running_loop()
                while (piece := await loop.run_in_executor(self.model.pool, next, generation, END)) is not END:
                    texts.append(piece)
                    if stream and piece:
                        yield event({"text": piece})
                if stream:
                    yield event(generation.summary())
                else:
                    yield as_json({"text": "".join(texts), **generation.summary()})

    return Generator


def event(fields: Mapping[str, Any]) -> str:
    """Return a server-sent event with the fields as JSON."""
    return f"data: {as_json(fields)}\n\n"


def as_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """Return the longest body that is read, in bytes by media type."""
    characters = limits.max_prompt_tokens * MAX_CHARACTERS_PER_TOKEN + MAX_STOPS * MAX_STOP_LENGTH
    return {"application/json": 4096 + MAX_BYTES_PER_CHARACTER * characters}


def make_check(folder: Path, limits: Limits) -> Check:
    """Return the function that judges a request, and gives it as JSON bytes with a default for every key left out."""
    settings, tokenizer = load_settings(folder / SETTINGS), load_tokenizer(folder / TOKENIZER)

    def check(content_type: str, body: bytes) -> bytes | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        try:
            request = read_request(body, limits)
            encode_prompt(
                request["prompt"], tokenizer=tokenizer, settings=settings, max_tokens=limits.max_prompt_tokens
            )
        except RequestError as error:
            return Refused(400, str(error))
        return json.dumps(request).encode()

    return check


def read_request(body: bytes, limits: Limits) -> dict[str, Any]:
    """Return a request with every key; raise RequestError where it is invalid or beyond the limits."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f'the request is not JSON ({error}); send {{"prompt": "The beginning"}}') from error
    if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
        raise RequestError(f'the request must be {{"prompt": "The beginning"}}, and may have {", ".join(KEYS[1:])}')
    if unknown := sorted(set(given) - set(KEYS)):
        raise RequestError(f"the request has the unknown key {shown(unknown[0])}; it may have {', '.join(KEYS)}")
    request: dict[str, Any] = defaults(limits) | given
    if request["seed"] is None:
        request["seed"] = SystemRandom().randint(0, MAX_SEED)
    if not isinstance(request["stream"], bool):
        raise RequestError(f"stream is {shown(request['stream'])}; it must be true or false")
    if not isinstance(request["stop"], list):
        raise RequestError(f"stop is {shown(request['stop'])}; it must be a list of texts")
    asked = {name: request[name] for name in ("max_tokens", "temperature", "top_k", "top_p", "seed")}
    sampling = Sampling(**asked, stop=tuple(request["stop"]))
    if sampling.max_tokens > limits.max_new_tokens:
        raise RequestError(f"max_tokens is {sampling.max_tokens}; at most {limits.max_new_tokens} are given")
    return request


def defaults(limits: Limits) -> dict[str, Any]:
    """Return the values of keys that a request leaves out.

    They give an answer as long as may be, drawn from the model's own probabilities, with a seed of its own each time.
    """
    return {
        "max_tokens": limits.max_new_tokens,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "seed": None,
        "stop": [],
        "stream": True,
    }


def questions(folder: Path, limits: Limits) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
    return {}


def what_it_is(folder: Path) -> str:
    """Return one sentence for the model card."""
    return f"A language model: it writes on from a prompt. It sees {load_settings(folder / SETTINGS).context} tokens."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """Return the part of the model card on what the service takes and gives, and within which limits."""
    most = min(limits.max_prompt_tokens, load_settings(folder / SETTINGS).context - 1)
    return (
        f"A prompt of at most {most} tokens, and an answer of at most {limits.max_new_tokens}. The request may have "
        "`max_tokens`, `temperature` (0 takes the likeliest token each time), `top_k`, `top_p`, `seed` (the same seed "
        "gives the same answer), `stop` (texts before which the answer ends) and `stream`. Streamed, which is the "
        "default, it is server-sent events: one for each piece of text, then one with `finish_reason`, the numbers of "
        "tokens, and the seed; otherwise one JSON object."
    )


def example(folder: Path) -> str:
    """Return the options of a curl command that asks the route."""
    return """-N -H 'content-type: application/json' -d '{"prompt": "The", "max_tokens": 40, "temperature": 0.8}'"""


def joined(requests: Sequence[Any], limits: Limits) -> None:
    """Return None: requests are answered one by one."""


def pairs(request: Any, answered: bytes, *, is_hashed: bool) -> list[Pair]:
    """Return the prompt with the answer: its text, joined again where it was streamed, and its summary."""
    if answered.startswith(b"data: "):
        events = [json.loads(event.removeprefix(b"data: ")) for event in answered.split(b"\n\n") if event]
        answer = {**events[-1], "text": "".join(event.get("text", "") for event in events)}
    else:
        answer = json.loads(answered)
    if is_hashed:
        answer["text"] = hashed(answer["text"])
    return [(request["prompt"], answer)]


def is_last(part: bytes) -> bool:
    return LAST_EVENT in part


def examples(golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a few prompts for the page, preferably those that can be read at a glance."""
    prompts = sorted({one["request"]["prompt"] for one in golden} - {""}, key=rank)
    return [named(prompt) for prompt in prompts[:MOST]]


def table(folder: Path, limits: Limits) -> Table:
    """Return the table of one prompt a row; the parameters of sampling hold for all rows."""
    defaults = {"max_tokens": limits.max_new_tokens, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": None}
    kinds: dict[str, Kind] = {"temperature": "double", "top_p": "double"}
    parameters = [Parameter(name, kinds.get(name, "long"), default) for name, default in defaults.items()]
    outputs = [
        Column("text", "string"),
        Column("finish_reason", "string"),
        *(Column(name, "long") for name in ("num_prompt_tokens", "num_tokens", "seed")),
    ]
    return Table(
        inputs=[Column("prompt", "string")],
        outputs=outputs,
        parameters=[*parameters, Parameter("stop", "string", [], is_list=True)],
    )


def rows_of(request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the prompt of a golden request as one row, and the parameters of its sampling."""
    return {"prompt": [request["prompt"]]}, {name: request[name] for name in SAMPLING if name in request}


def make_answering(folder: Path, *, threads: int) -> Answering:
    """Return a function that gives the text that follows each prompt; each prompt draws a seed where none is given."""
    generator = TextGenerator.load(folder, threads=threads)

    def answer(rows: Any, parameters: Mapping[str, Any]) -> list[Any]:
        seed = parameters.get("seed")
        requests = [
            {**parameters, "prompt": prompt, "seed": SystemRandom().randint(0, MAX_SEED) if seed is None else seed}
            for prompt in rows["prompt"]
        ]
        return generator.answers(requests)

    return answer
