"""The networks of the families by name, each imported only when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from components.models.facts import Facts
from components.plumbing.errors import ArtifactError, did_you_mean


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


def _encoder() -> Network:
    from components.models.encoder.network import build, from_config

    return Network(build, from_config)


def _gan() -> Network:
    from components.models.gan.network import build

    return Network(build)


def _gpt() -> Network:
    from components.models.gpt.network import build

    return Network(build)


def _lstm() -> Network:
    from components.models.lstm.network import build

    return Network(build)


def _mlp() -> Network:
    from components.models.mlp.network import build

    return Network(build)


NETWORKS: dict[str, Callable[[], Network]] = {
    "encoder": _encoder,
    "gan": _gan,
    "gpt": _gpt,
    "lstm": _lstm,
    "mlp": _mlp,
}


def network_of(family: str) -> Network:
    """Return the functions that make a family's networks; raise ArtifactError where there is no such family."""
    if family not in NETWORKS:
        raise ArtifactError(f"no family '{family}'{did_you_mean(family, NETWORKS)}; there are {', '.join(NETWORKS)}")
    return NETWORKS[family]()
