"""The functions by which a family's networks are made, whatever the family."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from components.models.facts import Facts


@dataclass(frozen=True)
class Network:
    """The functions that make the networks of a family."""

    build: Callable[[Any, Facts], nn.Module]
    """A function of the family's settings (components/params/families) and the facts that makes a network.

    The weights are drawn from torch's current random state.
    """
    from_config: Callable[[Path, Facts], nn.Module] | None = None
    """A function of a model's folder and the facts that makes the network that the folder's config.json describes.

    None where the settings always say enough.
    """
