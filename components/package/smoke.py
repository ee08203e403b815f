"""The smoke test: asking a served bundle its golden requests, and comparing the answers with the measured model's.

Where the model takes several rows a call, the requests are also asked alone, one after the other, and joined at random
to larger ones: each row must then get the same answer, to the last digit that is sent.
"""

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import httpx
import numpy as np

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ModelyardError, examples

NUM_CLIENTS = 4  # at once, so that an answer that depends on who else asks is found
NUM_MIXES = 4
MOST_JOINED = 32  # golden requests
SEED = 0
DIGITS = 6
TIMEOUT_S = 60
BUSY = 503


class Golden(TypedDict):
    """A request with the measured model's answer to it."""

    route: str
    request: Any
    answer: Any


Join = Callable[[Sequence[Any]], Any]
"""A function that returns one request for what several ask, whose answer is their answers one after the other; None
where a request cannot hold that: a task's `joined`."""


@dataclass(frozen=True)
class Parity:
    """The comparison of the served answers with the measured ones."""

    num_golden: int
    num_other: int
    """The number of requests whose answers differ in something other than a number."""
    max_difference: float
    """The largest difference between two numbers."""
    examples: str
    """The places where the answers differ most, in words."""
    num_changed: int = 0
    """The number of joined requests with an answer that is not the one that was given alone."""


def read_golden(path: Path, *, limit: int) -> list[Golden]:
    """Read at most `limit` golden requests, spread evenly over those that compress wrote."""
    golden: list[Golden] = read_json(path)
    chosen = np.linspace(0, len(golden) - 1, min(limit, len(golden))).round().astype(np.int64)
    return [golden[number] for number in np.unique(chosen).tolist()]


def ask(url: str, golden: Sequence[Golden], *, join: Join | None = None) -> Parity:
    """Post every golden request and compare the answers; with `join`, post them alone and joined as well.

    Raises ModelyardError where the server does not answer a request or its lineage.
    """
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        lineage = client.get("/lineage")
        if not lineage.is_success:
            raise ModelyardError(f"GET /lineage answers {lineage.status_code}: {lineage.text[:200]}")
        parity = compare(golden, [*pool.map(lambda one: post(client, one["route"], one["request"]), golden)])
        if join is None:
            return parity
        alone = [post(client, one["route"], one["request"]) for one in golden]
        mixes = [*mixed(golden, alone, join)]
        answers = pool.map(lambda one: post(client, one["route"], one["request"]), mixes)
        changed = sum(one["answer"] != answer for one, answer in zip(mixes, answers, strict=True))
    return replace(parity, num_changed=changed)


def post(client: httpx.Client, route: str, request: Any) -> Any:
    """Return the answer to a request; a busy server is asked again for up to TIMEOUT_S seconds."""
    response = client.post(route, json=request)
    give_up = time.monotonic() + TIMEOUT_S
    while response.status_code == BUSY and time.monotonic() < give_up:
        time.sleep(float(response.headers.get("retry-after", 1)))
        response = client.post(route, json=request)
    if not response.is_success:
        raise ModelyardError(f"POST {route} answers {response.status_code}: {response.text[:200]}")
    return response.json()


def mixed(golden: Sequence[Golden], answers: Sequence[Any], join: Join) -> Generator[Golden]:
    """Yield all requests several times, each time joined with others, with the answers that they get alone."""
    rng = np.random.default_rng(SEED)
    for _ in range(NUM_MIXES):
        order = rng.permutation(len(golden)).tolist()
        while order:
            size = int(MOST_JOINED ** rng.random()) + 1
            while (request := join([golden[number]["request"] for number in order[:size]])) is None and size > 1:
                size //= 2
            chosen, order = order[:size], order[size:]
            if request is not None:
                answer = [part for number in chosen for part in answers[number]]
                yield Golden(route=golden[chosen[0]]["route"], request=request, answer=answer)


def compare(golden: Sequence[Golden], answers: Sequence[Any]) -> Parity:
    """Compare the served answers with the measured ones, one by one."""
    found = [
        (number, place, amount)
        for number, (one, answer) in enumerate(zip(golden, answers, strict=True))
        for place, amount in differences(one["answer"], answer)
    ]
    others = [(number, place) for number, place, amount in found if amount is None]
    amounts = [(amount, number, place) for number, place, amount in found if amount is not None]
    worst = [(number, place) for _, number, place in sorted(amounts, key=lambda one: -one[0])]
    return Parity(
        num_golden=len(golden),
        num_other=len({number for number, _ in others}),
        max_difference=round(max((amount for amount, *_ in amounts), default=0.0), DIGITS),
        examples=examples(f"request {number}{place}" for number, place in (others or worst)[:3]),
    )


def differences(expected: Any, served: Any, place: str = "") -> Generator[tuple[str, float | None]]:
    """Yield each place where two answers differ, and the difference where both are numbers, else None."""
    if is_number(expected) and is_number(served):
        if expected != served:
            amount = abs(float(expected) - float(served))
            yield place, amount if amount == amount else None  # no difference can be told from NaN
    elif isinstance(expected, dict) and isinstance(served, dict) and expected.keys() == served.keys():
        for key, value in expected.items():
            yield from differences(value, served[key], f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(served, list) and len(expected) == len(served):
        for index, (one, other) in enumerate(zip(expected, served, strict=True)):
            yield from differences(one, other, f"{place}[{index}]")
    elif type(expected) is not type(served) or expected != served:
        yield place, None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
