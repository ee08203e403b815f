"""The lateness of an event loop: the time that an event waits before the loop looks at it."""

import asyncio
import math
import time

PERIOD_S = 0.05


class Lateness:
    """The lateness of the event loop that starts it: the delay with which its timer rings, every PERIOD_S seconds.

    One late ring is a hiccup, and tells nothing of what comes next (Nichols and Jacobson, "Controlling Queue Delay",
    2012, take the minimum over an interval for the same reason).
    """

    def __init__(self) -> None:
        self.due = math.inf
        self.before_s = self.last_s = 0.0

    def start(self) -> None:
        """Measure the lateness from now on, as long as the running loop runs."""
        now = time.monotonic()
        self.before_s, self.last_s = self.last_s, max(0.0, now - self.due)
        self.due = now + PERIOD_S
        asyncio.get_running_loop().call_later(PERIOD_S, self.start)

    @property
    def seconds(self) -> float:
        """The least of the last two rings' lateness, or of the last ring's and that of the ring that is due; 0 before
        the start."""
        return max(min(self.before_s, self.last_s), min(self.last_s, time.monotonic() - self.due))
