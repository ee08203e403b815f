import asyncio

import pytest
from bentoml.exceptions import ServiceUnavailable

from serving.places import Places


def test_no_more_than_there_are_places_and_who_waits_too_long_is_turned_away():
    async def ask() -> None:
        places = Places(2, max_latency_ms=20)
        async with places, places:
            with pytest.raises(ServiceUnavailable, match="no place got free in time"):
                async with places:
                    pytest.fail("there is no third place")
        async with places, places:
            pass

    asyncio.run(ask())


def test_place_is_free_again_after_an_error_and_who_waited_gets_it():
    async def ask() -> list[str]:
        places, done = Places(1, max_latency_ms=5000), []

        async def one(name: str) -> None:
            async with places:
                await asyncio.sleep(0)
                done.append(name)
                raise ValueError(name)

        await asyncio.gather(*map(one, "abc"), return_exceptions=True)
        return done

    assert asyncio.run(ask()) == ["a", "b", "c"]
