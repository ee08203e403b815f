"""What /docs.json says that a service takes is what it takes."""

import json
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from serving.endpoint import Refused
from serving.overload.backlog import Backlog
from serving.predictors import MAX_SEED
from serving.predictors.sampling import RequestError
from serving.tasks import endpoint_of
from serving.tasks.text_generation.endpoint import read_request

COMMON = {"threads": 1, "max_requests": 8, "max_read_ms": 1000, "max_latency_ms": 1000}
TEXTS = {"max_texts": 2, "max_text_length": 5, "max_body_bytes": 1000}
PROMPT = {"prompt": "a"}
IMAGES = {"seed": 1, "count": 1}

TAKEN = {
    "text_classification": [{"texts": ["a"]}, {"texts": ["", "abcde"]}],
    "array_classification": [{"arrays": [[0, 1.5]]}, {"arrays": [[0, 1], [2, 3]]}],
    "image_generation": [IMAGES, IMAGES | {"seed": MAX_SEED, "count": 3, "format": "array"}],
    "text_generation": [
        PROMPT, PROMPT | {"max_tokens": 4, "top_p": 1, "temperature": 0, "seed": None, "stop": ["."], "stream": False},
    ],
}  # fmt: skip
REFUSED = {
    "text_classification": [{}, {"texts": []}, {"texts": ["a"] * 3}, {"texts": ["abcdef"]}, {"texts": [1]}],
    "array_classification": [
        {}, {"arrays": []}, {"arrays": [[0, 1]] * 3}, {"arrays": [[0]]}, {"arrays": [[0, "1"]]},
        {"arrays": [[0, 9e99]]},
    ],
    "image_generation": [
        {"seed": 1}, IMAGES | {"count": 0}, IMAGES | {"count": 4}, IMAGES | {"seed": -1}, IMAGES | {"format": "gif"},
    ],
    "text_generation": [
        {}, PROMPT | {"max_tokens": 0}, PROMPT | {"max_tokens": 5}, PROMPT | {"top_p": 0}, PROMPT | {"top_k": -1},
        PROMPT | {"temperature": -1}, PROMPT | {"seed": -1}, PROMPT | {"stop": [""]}, PROMPT | {"stop": ["."] * 9},
    ],
}  # fmt: skip
LIMITS: dict[str, dict[str, int]] = {
    "text_classification": TEXTS,
    "array_classification": {"max_arrays": 2, "max_image_bytes": 1000},
    "image_generation": {"max_samples": 3},
    "text_generation": {"max_prompt_tokens": 9, "max_new_tokens": 4},
}


def is_taken(task: str, request: Any, folder: Path, limits: Any) -> bool:
    body = json.dumps(request).encode()
    if task == "text_generation":  # whose prompt's length is known by a tokenizer only
        try:
            return bool(read_request(body, limits))
        except RequestError:
            return False
    return not isinstance(endpoint_of(task).make_check(folder, limits)("application/json", body), Refused)


@pytest.mark.parametrize("task", LIMITS)
def test_schema_takes_what_the_service_takes(task: str, tmp_path: Path) -> None:
    settings = {"labels": ["a", "b"], "shape": [2], "offset": 0, "scale": 1}
    (tmp_path / "predictor.json").write_text(json.dumps(settings))
    endpoint = endpoint_of(task)
    limits = endpoint.Limits(**COMMON, **LIMITS[task])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what BentoML imports
        import bentoml

        api = endpoint.make_api(tmp_path, limits, Backlog(threads=1, max_latency_ms=1000))
        service: Any = bentoml.service(name="tiny")(api)
    (method,) = (one for one in service.apis.values() if one.route == endpoint.ROUTE)
    schema = jsonschema.Draft202012Validator(method.input_spec.model_json_schema())
    for request in TAKEN[task]:
        assert (schema.is_valid(request), is_taken(task, request, tmp_path, limits)) == (True, True), request
    for request in REFUSED[task]:
        assert (schema.is_valid(request), is_taken(task, request, tmp_path, limits)) == (False, False), request
