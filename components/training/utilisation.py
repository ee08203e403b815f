"""The share of a machine's operations per second that a training uses (model FLOPs utilisation, MFU)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Utilisation:
    """The operations of a training's steps, beside those that the machine can do."""

    flops_per_unit: float
    """The floating-point operations of a step's products, forward and backward, for each of its tokens or rows. What is
    computed of padding counts, too."""
    limit_flops_per_s: float
    """The most of them per second, as measured in a product of large matrices in the training's precision."""

    def at(self, units_per_s: float) -> float:
        """Return the share of the limit that is reached at so many tokens or rows per second."""
        return self.flops_per_unit * units_per_s / self.limit_flops_per_s
