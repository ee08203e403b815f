"""A limit that a candidate must keep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """One limit of the gate, beside a candidate's figure."""

    name: str
    """The setting of the recipe; empty where it is none."""
    figure: float
    limit: float
    is_least: bool
    """Whether the limit is the least that the figure may be, or the most."""
    words: str
    """What the figure is, in words that hold it."""

    @property
    def miss(self) -> float:
        """By how much the figure misses the limit, as a share of it; 0 where it keeps it."""
        over = self.limit - self.figure if self.is_least else self.figure - self.limit
        if over != over:  # a figure that is not a number keeps no limit
            return float("inf")
        return max(0.0, over) / max(abs(self.limit), 1e-9)
