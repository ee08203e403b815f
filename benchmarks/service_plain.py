"""The services that one would write by hand for the same model, for benchmarks/service.py.

    python service_plain.py PORT NUM_PROCESSES SETTINGS

FastAPI on uvicorn, with transformers (torch, fp32) or with ONNX Runtime, as their documentations show them; the answer
has a model of pydantic, by which FastAPI writes it fastest, and uvicorn takes uvloop and httptools where they are.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from fastapi import FastAPI
from pydantic import BaseModel

VARIABLE = "SERVICE_PLAIN"
"""The environment variable by which the processes of a service know their settings."""
Score = Callable[[list[str]], list[list[float]]]


class Settings(TypedDict):
    kind: str
    """`torch` or `onnx`."""
    model: str
    """The folder of the model: transformers' own, or `model.onnx`, `tokenizer.json` and `predictor.json`."""
    max_tokens: int
    labels: list[str]
    threads: int | None
    """The threads of one call of ONNX Runtime; None for its own choice."""
    inline: bool
    """Whether the event loop computes, instead of a pool of threads."""


class Request(BaseModel):
    texts: list[str]


class Answer(BaseModel):
    label: str
    scores: dict[str, float]


def app() -> FastAPI:
    """Return the service of the settings in the environment."""
    settings: Settings = json.loads(os.environ[VARIABLE])
    labels, score = settings["labels"], {"torch": torch_scores, "onnx": onnx_scores}[settings["kind"]](settings)
    made = FastAPI()

    def classify(request: Request) -> list[Answer]:
        rows = score(request.texts)
        return [Answer(label=labels[row.index(max(row))], scores=dict(zip(labels, row, strict=True))) for row in rows]

    async def classify_inline(request: Request) -> list[Answer]:
        return classify(request)

    def readyz() -> None:
        pass

    made.post("/classify")(classify_inline if settings["inline"] else classify)
    made.get("/readyz")(readyz)
    return made


def torch_scores(settings: Settings) -> Score:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(settings["model"])
    model: Any = AutoModelForSequenceClassification.from_pretrained(settings["model"]).eval()

    def score(texts: list[str]) -> list[list[float]]:
        with torch.inference_mode():
            rows = tokenizer(
                texts, padding=True, truncation=True, max_length=settings["max_tokens"], return_tensors="pt"
            )
            return torch.softmax(model(**rows).logits, -1).tolist()

    return score


def onnx_scores(settings: Settings) -> Score:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    folder = Path(settings["model"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(settings["max_tokens"])
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    if settings["threads"] is not None:
        options.intra_op_num_threads = settings["threads"]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def score(texts: list[str]) -> list[list[float]]:
        rows = tokenizer.encode_batch(texts)
        given = {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        }
        logits = np.asarray(session.run(["logits"], given)[0])
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        return (exponents / exponents.sum(-1, keepdims=True)).tolist()

    return score


def main() -> None:
    import uvicorn

    port, num_processes, settings = sys.argv[1:]
    os.environ[VARIABLE] = settings
    uvicorn.run(
        "service_plain:app", factory=True, host="127.0.0.1", port=int(port), workers=int(num_processes),
        log_level="warning", access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
