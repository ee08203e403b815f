"""How many requests are computed at once: as many as there are places, and none waits for one for long."""

import asyncio


class Places:
    """A place is taken in an `async with` block.

    BentoML's ServiceUnavailable, which is answered with 503, where none gets free within `max_latency_ms`.
    """

    def __init__(self, number: int, *, max_latency_ms: int) -> None:
        self.free, self.max_latency_ms = asyncio.Semaphore(number), max_latency_ms

    async def __aenter__(self) -> None:
        from bentoml.exceptions import ServiceUnavailable  # the stage `package` reads the endpoints without a server

        try:
            async with asyncio.timeout(self.max_latency_ms / 1000):
                await self.free.acquire()
        except TimeoutError as error:
            raise ServiceUnavailable("no place got free in time") from error

    async def __aexit__(self, *_: object) -> None:
        self.free.release()
