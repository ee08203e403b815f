"""How late an event loop is: for how long what comes waits before anybody looks at it."""

import asyncio
import math
import time

PERIOD_S = 0.05


class Lag:
    """Of the loop that starts it: how much later than asked for a timer rang, or is still to ring."""

    def __init__(self) -> None:
        self.due, self.last_s = math.inf, 0.0

    def start(self) -> None:
        """Look at it from now on, as long as the loop runs."""
        now = time.monotonic()
        self.last_s, self.due = max(0.0, now - self.due), now + PERIOD_S
        asyncio.get_running_loop().call_later(PERIOD_S, self.start)

    @property
    def seconds(self) -> float:
        """0 before it is started."""
        return max(self.last_s, time.monotonic() - self.due)
