"""CTranslate2 and OpenVINO as sides of benchmarks/compression.py, run as their documentations say.

They are no dependencies of the project: `pip install --target FOLDER` with PACKAGES and this Python. What is there and
in the project's own environment too is taken from the latter.
"""

import importlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.export.exporter import quiet
from components.models.storage import CONFIG, load
from compression_sides import THREADS, UNLIKE, Forward, Side, Subject, shared_out, ways_of

PACKAGES = ("ctranslate2==4.8.5", "openvino==2026.4.1", "nncf==3.4.0")
FOLDERS = ("ctranslate2", "openvino", "nncf")
CALIBRATION_ROWS = 300
"""The rows of the training split by which nncf fixes the scales; its own default."""


def add_folder(folder: Path) -> list[str]:
    """Let the packages in a folder be imported; return the names of those that are not there."""
    sys.path.append(str(folder.resolve()))
    return [name for name in FOLDERS if not (folder / name).is_dir()]


def ctranslate2_int8(subject: Subject) -> Side | None:
    """The encoder in int8, with the head of the classifier by numpy; None for a network that it does not convert."""
    if not (subject.inputs.model / CONFIG).is_file():
        return None
    ctranslate2 = importlib.import_module("ctranslate2")
    ctranslate2.set_log_level(40)
    head = classifier_of(subject)
    folder = converted(subject)

    def forward_of(calls: int, threads: int) -> tuple[str, Forward, int]:
        encoder = ctranslate2.Encoder(
            str(folder), device="cpu", compute_type="int8", inter_threads=calls, intra_threads=threads
        )
        return shared_out(calls, threads), ctranslate2_forward(ctranslate2, encoder, head), calls

    _, one, _ = forward_of(1, 1)
    return Side(
        "CTranslate2 int8", size_of(folder / "model.bin"), "a format of its own, no pickle",
        ways_of(subject, forward_of), unlike=subject.wrap(one, UNLIKE, 1),
    )  # fmt: skip


def classifier_of(subject: Subject) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the last layer of a BERT for classification, from the pooled output (B, C) to logits (B, L)."""
    model: Any = load(subject.inputs.model)
    weight, bias = (one.detach().numpy() for one in model.hosted.classifier.parameters())
    return lambda pooled: pooled @ weight.T + bias


def converted(subject: Subject) -> Path:
    """Convert the fine-tuned model; return the new folder."""
    transformers = importlib.import_module("ctranslate2.converters.transformers")
    source, folder = subject.graph.with_name("transformers"), subject.graph.with_name("ctranslate2")
    shutil.copytree(subject.inputs.model, source)
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    # The converter asks for it, and transformers 5 writes it no more, since it knows no other.
    config.setdefault("position_embedding_type", "absolute")
    (source / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    with quiet():
        transformers.TransformersConverter(str(source)).convert(str(folder), quantization="int8")
    return folder


def ctranslate2_forward(ctranslate2: Any, encoder: Any, head: Callable[..., NDArray[np.float32]]) -> Forward:
    view: Callable[..., Any] = ctranslate2.StorageView.from_array

    def forward(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        lengths = attention_mask.sum(axis=1).astype(np.int32)
        found = encoder.forward_batch(view(input_ids.astype(np.int32)), lengths=view(lengths))
        return head(np.asarray(found.pooler_output))

    return forward


def openvino_int8(subject: Subject) -> Side:
    """The model after nncf's static quantization with rows of the training split, in both modes of OpenVINO."""
    os.environ.setdefault("CI", "true")  # else it tells its makers that it is used
    openvino, nncf = (importlib.import_module(name) for name in ("openvino", "nncf"))
    rows = nncf.Dataset(list(subject.feeds(CALIBRATION_ROWS)))
    more: Mapping[str, Any] = {"model_type": nncf.ModelType.TRANSFORMER} if subject.is_text else {}
    with quiet():
        model = nncf.quantize(openvino.convert_model(subject.graph), rows, subset_size=CALIBRATION_ROWS, **more)
    path = subject.graph.with_name("openvino.xml")
    openvino.save_model(model, path)
    core = openvino.Core()

    def compiled(mode: str) -> Any:
        return core.compile_model(path, "CPU", {"PERFORMANCE_HINT": mode, "INFERENCE_NUM_THREADS": THREADS})

    def forward_of(calls: int, threads: int) -> tuple[str, Forward, int]:
        mode = "LATENCY" if calls == 1 else "THROUGHPUT"
        found = compiled(mode)
        at_once = int(found.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        return f"{mode.lower()} mode, {at_once} call(s)", openvino_forward(found), at_once

    return Side(
        "OpenVINO static int8", size_of(path) + size_of(path.with_suffix(".bin")),
        "XML and numbers, no pickle; reports its use unless told not to", ways_of(subject, forward_of),
        unlike=subject.wrap(openvino_forward(compiled("LATENCY")), UNLIKE, 1),
    )  # fmt: skip


def openvino_forward(compiled: Any) -> Forward:
    kept = threading.local()

    def forward(*arrays: NDArray[Any]) -> NDArray[np.float32]:
        if not hasattr(kept, "request"):  # one of each thread, as a request has room for one answer
            kept.request = compiled.create_infer_request()
        return np.array(kept.request.infer(list(arrays), share_inputs=True)[0])

    return forward


def size_of(path: Path) -> int:
    return path.stat().st_size


PEERS: tuple[Callable[[Subject], Side | None], ...] = (ctranslate2_int8, openvino_int8)
