"""Batches on the device: on a GPU the next one is made and copied while the step before it runs.

What runs on a GPU here was written without one at hand (docs/decisions.md).
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.training.objective import Batch


def copied_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with their tensors on the device, in their order.

    On a GPU one thread draws them, a batch ahead, and copies them from pinned memory on a stream of its own. On the CPU
    they are passed on as they are.
    """
    if device.type != "cuda":
        yield from batches
        return
    source, stream = iter(batches), torch.cuda.Stream(device)

    def following() -> Batch | None:
        with torch.cuda.stream(stream):
            batch = next(source, None)
            return None if batch is None else on_device(batch, device)

    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(following)
        while (batch := coming.result()) is not None:
            ready = stream.record_event()
            coming = worker.submit(following)
            current = torch.cuda.current_stream(device)
            current.wait_event(ready)
            for tensor in tensors_of(batch).values():
                tensor.record_stream(current)  # so that its memory is not given away while the step reads it
            yield batch


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch whose tensors are on a GPU, or on their way there from pinned memory."""
    copies = {
        name: (tensor if tensor.is_cuda else tensor.pin_memory()).to(device, non_blocking=True)
        for name, tensor in tensors_of(batch).items()
    }
    made: Any = batch
    return replace(made, **copies) if copies else batch


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """Return the fields of a batch that are tensors, by name."""
    if not is_dataclass(batch):
        return {}
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
