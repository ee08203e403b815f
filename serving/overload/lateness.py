"""How late an event loop is: for how long what comes waits before anybody looks at it."""

import asyncio
import math
import time

PERIOD_S = 0.05


class Lateness:
    """Of the loop that starts it: how much later than asked for its timer rings, time after time.

    One late ring is a hiccup, and tells nothing of what comes next (Nichols and Jacobson, "Controlling Queue Delay",
    2012, take the least of an interval for the same reason).
    """

    def __init__(self) -> None:
        self.due = math.inf
        self.before_s = self.last_s = 0.0

    def start(self) -> None:
        """Look at it from now on, as long as the loop runs."""
        now = time.monotonic()
        self.before_s, self.last_s = self.last_s, max(0.0, now - self.due)
        self.due = now + PERIOD_S
        asyncio.get_running_loop().call_later(PERIOD_S, self.start)

    @property
    def seconds(self) -> float:
        """The least of the last two rings, or of the last and the one that is late by now; 0 before the start."""
        return max(min(self.before_s, self.last_s), min(self.last_s, time.monotonic() - self.due))
