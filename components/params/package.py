"""The section of package: the bundle, proved by serving it. `serving` is carried in the bundle, one a task."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section


class TextClassificationServing(Section):
    """POST /classify: texts."""

    task: Literal["text_classification"]
    threads: Positive
    """Rows computed at once."""
    max_texts: Positive
    """Of one request."""
    max_text_length: Positive
    """Characters of one text of a request."""
    max_body_bytes: Positive
    """Of one request."""
    max_requests: Positive
    """Read, waiting or computed at once; one more is turned away with 503."""
    max_read_ms: Positive
    """For the whole of a request to arrive."""
    max_latency_ms: Positive
    """For an answer; a request whose answer would take longer is turned away with 503."""


class ArrayClassificationServing(Section):
    """POST /classify: images as files, or arrays."""

    task: Literal["array_classification"]
    threads: Positive
    """Rows computed at once."""
    max_arrays: Positive
    """Of one request."""
    max_image_bytes: Positive
    """Of one uploaded image."""
    max_requests: Positive
    """Read, waiting or computed at once; one more is turned away with 503."""
    max_read_ms: Positive
    """For the whole of a request to arrive."""
    max_latency_ms: Positive
    """For an answer; a request whose answer would take longer is turned away with 503."""


class TextGenerationServing(Section):
    """POST /generate."""

    task: Literal["text_generation"]
    threads: Positive
    """Requests computed at once."""
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    """Of one answer."""
    max_requests: Positive
    """Read, waiting or computed at once; one more is turned away with 503."""
    max_read_ms: Positive
    """For the whole of a request to arrive."""
    max_latency_ms: Positive
    """Wait for a free thread beyond which a request is turned away with 503."""


class ImageGenerationServing(Section):
    """POST /sample."""

    task: Literal["image_generation"]
    threads: Positive
    """Requests computed at once."""
    max_samples: Positive
    """Of one request."""
    max_requests: Positive
    """Read, waiting or computed at once; one more is turned away with 503."""
    max_read_ms: Positive
    """For the whole of a request to arrive."""
    max_latency_ms: Positive
    """For an answer; a request whose answer would take longer is turned away with 503."""


Serving = Annotated[
    TextClassificationServing | ArrayClassificationServing | TextGenerationServing | ImageGenerationServing,
    Field(discriminator="task"),
]


class Package(Section):
    """package: the bundle, proved by serving it."""

    num_golden: Annotated[int, Field(ge=1, le=256)]
    """Requests that the served bundle is asked, at most; spread over the test split."""
    max_difference: Annotated[float, Field(gt=0)]
    """Between a number of a served answer and the measured one; words must be the same."""
    ready_timeout_s: Positive
    serving: Serving
