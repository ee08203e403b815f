"""The optional section `service`: how `modelyard up` serves a recipe. No stage depends on it."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section, Share

Port = Annotated[int, Field(ge=1024, le=65535)]


class NoCanary(Section):
    """The setting without a trial: a challenger is promoted on the held-out rows alone."""

    mode: Literal["none"]


class Canary(Section):
    """The trial of a challenger beside the champion, on a share of the real requests, before it is promoted."""

    mode: Literal["shadow", "canary"]
    """The mode of the trial. In shadow, the challenger answers after the champion did, and nobody sees its answer. In
    canary, its answer is the one given, with the champion's in its place where it fails; the champion is asked too, to
    compare."""
    share: Annotated[float, Field(gt=0, le=1)]
    """The share of the requests to the model's route that the trial takes."""
    requests: Positive
    """The number of compared requests without a regression after which the challenger is promoted."""
    min_agreement: Share | None
    """The least mean share of a request's labels on which both versions agree; null where answers have no labels."""
    max_error_rate: Share
    """The largest share of compared requests that only the challenger fails (5xx, or no answer in time)."""
    max_latency_ratio: Annotated[float, Field(gt=0)]
    """The largest ratio of the challenger's median latency to the champion's, on the same requests."""


class Service(Section):
    """The settings of the router in front of the champion."""

    port: Port
    """The port of 127.0.0.1 on which the router listens; each served recipe has its own."""
    traffic: Literal["text", "hash"]
    """The form in which the traffic log keeps a request's input: the input itself, or its sha256."""
    drain_timeout_s: Positive
    """The seconds that a replaced version has to finish the requests that it accepted."""
    canary: Annotated[NoCanary | Canary, Field(discriminator="mode")]
