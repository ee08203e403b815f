"""How long tests wait for what must happen: so long that a machine which is only slow or busy fails none of them.

Where a test is about what happens soon, it compares with what would have happened otherwise: a limit that is far
longer, an order, a count.
"""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60
Found = TypeVar("Found")


def wait_until(
    seen: Callable[[], Found], told: Callable[[], object] = str, *, within_s: float = PATIENCE_S, every_s: float = 0.02
) -> Found:
    """What `seen` gives, once that is true; AssertionError with what `told` says where it does not become so."""
    give_up_at = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < give_up_at, told()
        time.sleep(every_s)
    return found
