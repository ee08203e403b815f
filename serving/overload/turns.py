"""The order in which threads take the rows that wait: small requests' first come first served, and beside them a line.

Large requests stand in the line, one after the other. While both wait, the line gets LINE_SHARE of the computed weight,
so that neither keeps the other out.
"""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

LINE_SHARE = 1 / 4

Row = TypeVar("Row")


class Turns(Generic[Row]):
    """Rows that wait with their weights; `take` gives the next one to a thread."""

    def __init__(self) -> None:
        self.small: deque[tuple[Row, float]] = deque()
        self.line: deque[tuple[Row, float]] = deque()
        self.owed = 0.0
        """The weight that the line is behind its share since both began to wait; below 0 where it is ahead."""
        self.ready = threading.Condition()

    def put(self, rows: Iterable[tuple[Row, float]], *, in_line: bool) -> None:
        with self.ready:
            before = len(self.small) + len(self.line)
            (self.line if in_line else self.small).extend(rows)
            self.ready.notify(len(self.small) + len(self.line) - before)

    def take(self) -> tuple[Row, float]:
        """Return the next row and its weight, as soon as there is one."""
        with self.ready:
            while not (self.small or self.line):
                self.ready.wait()
            if not (self.small and self.line):
                self.owed = 0.0
                return (self.small or self.line).popleft()
            from_line = self.owed > 0
            row, weight = (self.line if from_line else self.small).popleft()
            self.owed += weight * (LINE_SHARE - from_line)
            return row, weight
