"""The time that a sweep has taken."""

import time
from contextlib import suppress
from pathlib import Path

from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError


class Clock:
    """The seconds that a sweep has taken, over all times that it was carried on."""

    def __init__(self, file: Path, limit_s: int | None) -> None:
        self.file, self.limit_s, self.began = file, limit_s, time.monotonic()
        self.before = 0.0
        with suppress(ArtifactError, KeyError, TypeError):
            self.before = float(read_json(file)["seconds"])

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.tick()

    def tick(self) -> None:
        write_json(self.file, {"seconds": round(self.seconds, 1)}, durable=False)

    def has_time(self) -> bool:
        return self.limit_s is None or self.seconds < self.limit_s
