import asyncio

import pytest
from bentoml.exceptions import ServiceUnavailable

from serving.overload.slots import Slots


def test_no_more_than_there_are_slots_and_who_waits_too_long_is_turned_away() -> None:
    async def ask() -> None:
        slots = Slots(2, max_latency_ms=20)
        async with slots, slots:
            with pytest.raises(ServiceUnavailable, match="no slot got free in time"):
                async with slots:
                    pytest.fail("there is no third place")
        async with slots, slots:
            pass

    asyncio.run(ask())


def test_place_is_free_again_after_an_error_and_who_waited_gets_it() -> None:
    async def ask() -> list[str]:
        slots, done = Slots(1, max_latency_ms=60_000), []

        async def one(name: str) -> None:
            async with slots:
                await asyncio.sleep(0)
                done.append(name)
                raise ValueError(name)

        await asyncio.gather(*map(one, "abc"), return_exceptions=True)
        return done

    assert asyncio.run(ask()) == ["a", "b", "c"]
