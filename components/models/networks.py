"""The networks of the families by name, each imported only when it is asked for."""

from collections.abc import Callable

from components.models.network import Network
from components.plumbing.errors import ArtifactError, did_you_mean


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
