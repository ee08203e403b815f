"""The devices on which a recipe's trainings run together."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from components.params.section import Positive, Section


class Devices(Section):
    """The devices of a training: GPUs or, where there are none, processes that share the processor's cores."""

    count: Positive
    """The number of devices, one process each, over all nodes."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What each device holds: ddp keeps the whole model, optimizer included, on each; fsdp shards them over all, for
    models that one device cannot hold. Either way the devices divide each batch."""


def as_devices(value: object) -> object:
    """Return a plain number of devices as the section that it stands for, and everything else unchanged."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"count": value} if is_number else value


GivenDevices = Annotated[Devices | None, BeforeValidator(as_devices)]
"""A number of devices, or the section that says more."""
