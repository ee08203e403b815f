"""What each task takes and gives as an MLflow model, with an example: one golden request of the bundle."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import read_json
from serving.bundle import load_about

GOLDEN = "golden.json"
PARAMS = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop")


def signature_of(bundle: Path) -> tuple[Any, Any]:
    """A bundle's `ModelSignature`, and its input example (with its parameters, where it has some)."""
    from mlflow.models import ModelSignature

    about = load_about(bundle)
    request: dict[str, Any] = read_json(bundle / GOLDEN)[0]["request"]
    inputs, outputs, params, example = TASKS[about.task](bundle, about.limits, request)
    return ModelSignature(inputs=inputs, outputs=outputs, params=params), example


def of_texts(bundle: Path, limits: Mapping[str, int], request: Mapping[str, Any]) -> tuple[Any, ...]:
    import pandas as pd
    from mlflow.types import ColSpec, Schema

    example = pd.DataFrame({"text": request["texts"][:1]})
    return Schema([ColSpec("string", "text")]), scores(), None, example


def of_arrays(bundle: Path, limits: Mapping[str, int], request: Mapping[str, Any]) -> tuple[Any, ...]:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    example = np.array(request["arrays"][:1], np.float64)  # (1, V)
    return Schema([TensorSpec(np.dtype(np.float64), (-1, example.shape[1]))]), scores(), None, example


def scores() -> Any:
    """What a classifier says of a row."""
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    return Schema([ColSpec("string", "label"), ColSpec(Map(DataType.double), "scores")])


def of_prompts(bundle: Path, limits: Mapping[str, int], request: Mapping[str, Any]) -> tuple[Any, ...]:
    import pandas as pd
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    params = ParamSchema(
        [
            ParamSpec("max_tokens", "long", limits["max_new_tokens"]),
            ParamSpec("temperature", "double", 1.0),
            ParamSpec("top_k", "long", 0),
            ParamSpec("top_p", "double", 1.0),
            ParamSpec("seed", "long", None),
            ParamSpec("stop", "string", [], shape=(-1,)),
        ]
    )
    outputs = Schema(
        [
            ColSpec("string", "text"),
            ColSpec("string", "finish_reason"),
            ColSpec("long", "num_prompt_tokens"),
            ColSpec("long", "num_tokens"),
            ColSpec("long", "seed"),
        ]
    )
    asked = {name: request[name] for name in PARAMS if name in request}
    example = pd.DataFrame({"prompt": [request["prompt"]]})
    return Schema([ColSpec("string", "prompt")]), outputs, params, (example, asked)


def of_seeds(bundle: Path, limits: Mapping[str, int], request: Mapping[str, Any]) -> tuple[Any, ...]:
    import pandas as pd
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    inputs = Schema([ColSpec("long", "seed"), ColSpec("long", "count")])
    images = Array(Array(Array(DataType.long)))  # (S, H, W), from 0 for black to 255 for white
    example = pd.DataFrame({"seed": [request["seed"]], "count": [request["count"]]})
    return inputs, Schema([ColSpec(images, "images")]), None, example


TASKS: dict[str, Callable[[Path, Mapping[str, int], Mapping[str, Any]], tuple[Any, ...]]] = {
    "text_classification": of_texts,
    "array_classification": of_arrays,
    "text_generation": of_prompts,
    "image_generation": of_seeds,
}
