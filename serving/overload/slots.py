"""The slots that limit how many requests are computed at once; no request waits in vain for one."""

import asyncio
import time

LATEST = 0.2  # how much the latest request counts in the mean of how long one takes


class Slots:
    """The slots for requests that are computed at once; an `async with` block takes one.

    Raise BentoML's ServiceUnavailable, which is answered with 503, where no slot gets free within `max_latency_ms`: at
    once where the requests before it are expected to take longer than that, or else when the time is over.
    """

    def __init__(self, number: int, *, max_latency_ms: int) -> None:
        self.free, self.number, self.max_latency_s = asyncio.Semaphore(number), number, max_latency_ms / 1000
        self.num_waiting, self.mean_s = 0, 0.0
        self.taken: list[float] = []

    def wait_s(self) -> float:
        """Return the seconds that one more request is expected to wait for a slot."""
        return self.mean_s * (self.num_waiting + 1) / self.number if self.free.locked() else 0.0

    async def __aenter__(self) -> None:
        from bentoml.exceptions import ServiceUnavailable  # the stage `package` reads the endpoints without a server

        if self.wait_s() > self.max_latency_s:
            raise ServiceUnavailable("no slot is expected to get free in time")
        self.num_waiting += 1
        try:
            async with asyncio.timeout(self.max_latency_s):
                await self.free.acquire()
        except TimeoutError as error:
            raise ServiceUnavailable("no slot got free in time") from error
        finally:
            self.num_waiting -= 1
        self.taken.append(time.monotonic())

    async def __aexit__(self, *_: object) -> None:
        took_s = time.monotonic() - self.taken.pop(0)  # which one leaves does not matter for the mean
        self.mean_s += (LATEST if self.mean_s else 1.0) * (took_s - self.mean_s)
        self.free.release()
