"""The order in which threads take the rows that wait: small requests' first come first served, and beside them a line.

Large requests stand in the line, one after the other. While both wait, the line gets LINE_SHARE of the computed weight,
so that neither keeps the other out.

A thread may take several rows at once, whatever requests they belong to. It takes no more than its share of those that
wait (guided self-scheduling, Polychronopoulos and Kuck 1987), so that the last ones do not wait for one thread while
another has nothing to do; and it never waits for more to come.
"""

import math
import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

LINE_SHARE = 1 / 4

Row = TypeVar("Row")


class Turns(Generic[Row]):
    """Rows that wait with their weights; `take` gives the next ones to one of a number of threads."""

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
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

    def take(self, most: int, *, most_weight: float = math.inf) -> list[tuple[Row, float]]:
        """Return the next rows and their weights, as soon as there is one.

        They are at most `most`, and more than one only as far as they weigh at most `most_weight` together.
        """
        with self.ready:
            while not (self.small or self.line):
                self.ready.wait()
            both_wait = bool(self.small and self.line)
            from_line = self.owed > 0 if both_wait else not self.small
            waiting = self.line if from_line else self.small
            taken = [waiting.popleft()]
            weight = taken[0][1]
            most = min(most, -(-(len(waiting) + 1) // self.threads))
            while len(taken) < most and weight + waiting[0][1] <= most_weight:
                taken.append(waiting.popleft())
                weight += taken[-1][1]
            self.owed = self.owed + weight * (LINE_SHARE - from_line) if both_wait else 0.0
            return taken
