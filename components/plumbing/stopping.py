"""The early end of a stage: on Ctrl-C, on SIGTERM, and when a process that it works for is gone.

Each raises KeyboardInterrupt in the main thread. Python drops one that is raised in a finalizer or in a callback of a
library, and some libraries catch it while they are imported; so it is raised again until the work is left.
"""

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from components.plumbing.processes import drivers, is_alive

LOOK_EVERY_S = 1.0
ASK_AGAIN_AFTER_S = 5.0


class Stopping:
    """A watch that asks the work to end, as often as it takes. It is to be made once, in the main thread."""

    def __init__(self) -> None:
        self.drivers = drivers()
        self.is_asked = False
        self.is_at_work = False
        signal.signal(signal.SIGTERM, self.ask)
        signal.signal(signal.SIGINT, self.ask)
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt: the handler of SIGTERM and SIGINT."""
        self.is_asked = True
        raise KeyboardInterrupt

    @contextmanager
    def work(self) -> Generator[None]:
        """Have the block asked to end again and again. What a block around it still has to write is asked only once."""
        self.is_at_work = True
        try:
            if self.is_asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.is_at_work = False

    def _watch(self) -> None:
        while all(map(is_alive, self.drivers)) and not self.is_asked:
            time.sleep(LOOK_EVERY_S)
        if not self.is_asked:
            os.kill(os.getpid(), signal.SIGINT)
        while True:
            time.sleep(ASK_AGAIN_AFTER_S)
            if self.is_at_work:
                os.kill(os.getpid(), signal.SIGINT)
