"""POST /classify: texts. POST /explain: which words of one text moved its label's score.

Each text is a row of the backlog, which turns a request away with 503 when its answer would take too long.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from serving.endpoint import Check, Pair, Question, Refused, media_type
from serving.overload.backlog import Backlog, Reply
from serving.predictors.calibration import may_abstain
from serving.predictors.explaining import leave_one_out
from serving.predictors.scores import AbstainingLabel, ScoredLabel
from serving.tabular import ABSTAINING, SCORED, Answering, Column, Table
from serving.tasks.examples import named, of_every_label, rank
from serving.tasks.text_classification.explaining import Explanation, explanation, texts_asked
from serving.tasks.text_classification.predictor import CALL_TOKENS, ROUTE, SETTINGS, Predictor, load_settings

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

IS_STREAMED = False
PACKAGES = ("tokenizers",)
EXPLAIN = "/explain"
WARM_UP = "Café: a first text, so that no user waits for what is made once."
CHARACTERS_PER_TOKEN = 4  # of English; only how rows compare counts
HALF = re.compile("[\ud800-\udfff]")
TAKEN_AT_ONCE = 2  # batches of the model, in which rows find others of their length


@dataclass(frozen=True)
class Limits:
    """The limits of the service."""

    threads: int
    """The number of rows computed at once."""
    max_texts: int
    """The most texts in one request."""
    max_text_length: int
    """The most characters of one text."""
    max_body_bytes: int
    """The most bytes of one request's body."""
    max_requests: int
    """The most whole requests waiting or computed at once; the next one is turned away."""
    max_read_ms: int
    """The most milliseconds that the headers of a request may take to arrive, then its body, and that its answer may
    stay unread."""
    max_latency_ms: int
    """The most milliseconds that an answer may take; a request whose answer would take longer is turned away."""


class Model:
    """The model that answers texts."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.warm_up = predictor, WARM_UP
        self.batch_size = predictor.batch_size * (TAKEN_AT_ONCE if predictor.batch_size > 1 else 1)

    def weight(self, text: str) -> float:
        """Return about the number of tokens that the model reads of a text, plus a fixed cost for each row."""
        return CALL_TOKENS + min(len(text) // CHARACTERS_PER_TOKEN, self.predictor.settings.max_tokens)

    def compute(self, texts: Sequence[str]) -> Sequence[ScoredLabel]:
        return self.predictor.answers(self.predictor.predict(texts))

    def reply(self, answers: Sequence[ScoredLabel]) -> Reply:
        return Reply(as_json(answers))


def as_json(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def make_api(folder: Path, limits: Limits, backlog: Backlog) -> type[Any]:
    """Return the class that BentoML serves."""
    import bentoml
    from pydantic import Field

    answer: Any = AbstainingLabel if may_abstain(folder) else ScoredLabel

    class Classifier:
        def __init__(self) -> None:
            self.model = Model(Predictor.load(folder, threads=1))
            backlog.start(self.model)

        @bentoml.api(route=ROUTE)
        def classify(
            self,
            texts: Annotated[
                list[Annotated[str, Field(max_length=limits.max_text_length)]],
                Field(min_length=1, max_length=limits.max_texts),
            ],
        ) -> list[answer]:  # pyright: ignore[reportInvalidTypeForm]  # what BentoML describes in /docs.json
            """Return the label of each text, and the score of every label."""
            return [*self.model.compute(texts)]

        @bentoml.api(route=EXPLAIN)
        def explain(self, text: Annotated[str, Field(max_length=limits.max_text_length)]) -> Explanation:
            """Return by how much the score of the text's label is higher with each word than without it.

            `start` and `end` of a piece count characters (Unicode code points). A long text is weighed in pieces of
            `words_a_piece` words.
            """
            predictor = self.model.predictor
            return explanation(
                leave_one_out(predictor.predict, text, most=pieces_asked(limits)), predictor.settings.labels
            )

    return Classifier


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """Return the longest body that is read, in bytes by media type."""
    return {"application/json": limits.max_body_bytes}


def make_check(folder: Path, limits: Limits) -> Check:
    """Return the function that judges a request; it needs nothing of the folder."""

    def check(content_type: str, body: bytes) -> list[str] | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        return texts_of(body, limits)

    return check


def texts_of(body: bytes, limits: Limits) -> list[str] | Refused:
    """Return the texts of a JSON body; Refused with status 400 where they are no list of texts within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f'the request is not JSON ({error}); send {{"texts": ["a text"]}}')
    if not isinstance(request, dict) or set(request) != {"texts"} or not isinstance(request["texts"], list):
        return Refused(400, 'the request must be {"texts": ["a text", "another"]}, and nothing else')
    texts: list[Any] = request["texts"]
    if not texts:
        return Refused(400, "texts is empty; send at least one text")
    if len(texts) > limits.max_texts:
        return Refused(400, f"texts has {len(texts)} texts; at most {limits.max_texts} are taken in one request")
    faults = (fault_of(text, f"texts[{index}]", limits) for index, text in enumerate(texts))
    return next((fault for fault in faults if fault is not None), texts)


def fault_of(text: Any, name: str, limits: Limits) -> Refused | None:
    """Return why a text of a request is not taken; None where it is."""
    if not isinstance(text, str):
        return Refused(400, f"{name} is {json.dumps(text)[:40]}; every text must be a string")
    if len(text) > limits.max_text_length:
        return Refused(400, f"{name} has {len(text)} characters; at most {limits.max_text_length} are taken")
    if HALF.search(text):
        return Refused(400, f"{name} holds half of a surrogate pair, which is no character")
    return None


def questions(folder: Path, limits: Limits) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
    """Return POST /explain, which answers {"text": ...} with an `Explanation`."""
    labels = load_settings(folder / SETTINGS).labels

    def check(content_type: str, body: bytes) -> Question | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        text = text_of(body, limits)
        if isinstance(text, Refused):
            return text
        most = pieces_asked(limits)

        def make_reply(answers: Sequence[ScoredLabel]) -> Reply:
            scores = np.array([[answer["scores"][label] for label in labels] for answer in answers])  # (1 + P, L)
            return Reply(as_json(explanation(leave_one_out(lambda _: scores, text, most=most), labels)))

        return Question(texts_asked(text, most=most), make_reply)

    return {EXPLAIN: check}


def pieces_asked(limits: Limits) -> int:
    """Return the most pieces of a text that are left out, one at a time, beside the whole text."""
    return max(1, limits.max_texts - 1)


def text_of(body: bytes, limits: Limits) -> str | Refused:
    """Return the text of a JSON body; Refused with status 400 where it is none within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f'the request is not JSON ({error}); send {{"text": "a text"}}')
    if not isinstance(request, dict) or set(request) != {"text"}:
        return Refused(400, 'the request must be {"text": "a text"}, and nothing else')
    return fault_of(request["text"], "text", limits) or request["text"]


def what_it_is(folder: Path) -> str:
    """Return one sentence for the model card."""
    labels = load_settings(folder / SETTINGS).labels
    names = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return f"A text classifier: it gives one of {len(labels)} labels ({names}) to a text, with a score for each."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """Return the part of the model card on what the service takes, and within which limits."""
    return (
        f"At most {limits.max_texts} texts of {limits.max_text_length} characters in one request, of at most "
        f"{limits.max_body_bytes} bytes. A text is cut after "
        f"{load_settings(folder / SETTINGS).max_tokens} tokens.\n\n"
        f'POST {EXPLAIN} takes one, `{{"text": "a text"}}`, and says by how much the score of its label is higher\n'
        "with each of its words than without it."
    )


def example(folder: Path) -> str:
    """Return the options of a curl command that asks the route."""
    return """-H 'content-type: application/json' -d '{"texts": ["a text"]}'"""


def joined(requests: Sequence[Any], limits: Limits) -> dict[str, list[Any]] | None:
    """Return one request with the texts of several; None where they are too many."""
    texts = [text for request in requests for text in request["texts"]]
    return {"texts": texts} if len(texts) <= limits.max_texts else None


def pairs(request: Any, answered: bytes, *, is_hashed: bool) -> list[Pair]:
    """Return the texts, each with its label and scores."""
    del is_hashed  # a label tells little of what was asked
    (asked,) = request.values()
    return list(zip(asked, json.loads(answered), strict=True))


def is_last(_: bytes) -> bool:
    return False


def examples(golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a few texts of different labels for the page, preferably those that can be read at a glance."""
    texts = [(one["answer"][0]["label"], one["request"]["texts"][0]) for one in golden]
    return [named(text) for text in of_every_label(sorted(texts, key=lambda one: rank(one[1])))]


def table(folder: Path, limits: Limits) -> Table:
    """Return the table of one text a row."""
    return Table(inputs=[Column("text", "string")], outputs=ABSTAINING if may_abstain(folder) else SCORED)


def rows_of(request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the texts of a golden request, and no parameters."""
    return {"text": request["texts"]}, {}


def make_answering(folder: Path, *, threads: int) -> Answering:
    """Return a function that gives the label and the scores of each text."""
    predictor = Predictor.load(folder, threads=threads)
    return lambda rows, _: predictor.answers(predictor.predict(rows["text"]))
