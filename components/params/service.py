"""The optional section `service`: how `modelyard up` serves a recipe. No stage depends on it."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section, Share

Port = Annotated[int, Field(ge=1024, le=65535)]


class NoCanary(Section):
    """A challenger is not tried on real requests: promotion rests on the held-out rows alone."""

    mode: Literal["none"]


class Canary(Section):
    """A challenger beside the champion, on a share of the real requests, before it is promoted."""

    mode: Literal["shadow", "canary"]
    """shadow: the challenger answers after the champion did, and nobody sees it. canary: its answer is the one that is
    given, with the champion's in its place where it fails; the champion is asked as well, to compare."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Of the requests that reach the model's route."""
    requests: Positive
    """After so many, compared, without a regression it is promoted."""
    min_agreement: Share | None
    """Mean share of a request's labels that both give alike. Null where answers have no labels."""
    max_error_rate: Share
    """Share of the compared requests that only the challenger failed (5xx, no answer in time)."""
    max_latency_ratio: Annotated[float, Field(gt=0)]
    """The challenger's median latency by the champion's, on the same requests."""


class Service(Section):
    """service: what stands in front of the champion."""

    port: Port
    """Of 127.0.0.1, where the router listens; each served recipe has its own."""
    traffic: Literal["text", "hash"]
    """What the traffic log keeps of a request's input: the input itself, or its sha256."""
    drain_timeout_s: Positive
    """A replaced version may take so long to finish what it accepted."""
    canary: Annotated[NoCanary | Canary, Field(discriminator="mode")]
