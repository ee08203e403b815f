"""The time that the steps of preprocess take."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from components.plumbing.artifacts import write_json

logger = logging.getLogger(__name__)


@contextmanager
def timed(step: str, steps: dict[str, float]) -> Generator[None]:
    """Record the seconds that the block takes under the name of the step, and log them."""
    start = time.perf_counter()
    yield
    steps[step] = round(time.perf_counter() - start, 3)
    logger.info("%s: %.1f s", step, steps[step])


def write_timings(observations: Path, steps: dict[str, float], *, num_rows: int) -> None:
    """Write the seconds of each step to timings.json in the observations."""
    write_json(observations / "timings.json", {"num_rows": num_rows, "seconds": steps})
