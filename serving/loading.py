"""The loading of the model in a server's worker: where it fails, the server ends and says why in one line.

BentoML starts a worker that ended again and again, whatever it ended of. So a worker that cannot load the model leaves
the reason in the server's folder of counters and asks the server to stop, which then says it and ends with an error.
"""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.bundle import BundleError, load_about

logger = logging.getLogger(__name__)

COUNTERS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable in which BentoML tells a worker the folder of the server's counters."""
REASON = "not-loaded.txt"
LOADING = "loading-"
"""The beginning of the name of a file that says which process is loading the model; the rest is START."""
START = "%d-%.0f"
"""The name of a process, as of a server's folder of counters: its id, and its start in seconds since 1970."""
SAME_START_S = 2
"""The most seconds by which two readings of one process's start may differ, since the clock may be set between them."""


def say_why_at_the_end(counters: Path) -> None:
    """Have this process, the server, end with an error and the reason that a worker left in its folder of counters."""

    def say() -> None:
        reason = counters / REASON
        if reason.is_file():
            print(reason.read_text(encoding="utf-8"), file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)

    atexit.register(say)


@contextmanager
def loading(folder: Path) -> Generator[None]:
    """Load the model of the bundle in `folder` in the block.

    Where that fails, in this process or in one before it that was killed for it, the server is stopped.
    """
    counters = Path(os.environ.get(COUNTERS) or ".")
    server = psutil.Process(os.getppid())
    is_ours = counters.name == START % (server.pid, server.create_time())
    own = psutil.Process()
    note = counters / f"{LOADING}{START % (own.pid, own.create_time())}"
    if is_ours:
        if any(not is_running(one.name.removeprefix(LOADING)) for one in counters.glob(f"{LOADING}*")):
            give_up(f"the process that loaded the model was killed; {more_memory(folder)}", counters, server)
        note.touch()
    try:
        yield
    except Exception as error:
        reason = reason_of(error, folder)
        if not is_ours:
            raise BundleError(reason) from error
        give_up(reason, counters, server)
    finally:
        note.unlink(missing_ok=True)


def is_running(name: str) -> bool:
    """Return whether the process runs that has this name, `<process id>-<start in seconds since 1970>`.

    The id alone does not tell, since the system uses it again. A name of another form is that of no process.
    """
    number, _, began = name.partition("-")
    try:
        return abs(psutil.Process(int(number)).create_time() - float(began)) < SAME_START_S
    except (ValueError, psutil.NoSuchProcess):
        return False


def reason_of(error: Exception, folder: Path) -> str:
    """Return in one line why a model could not be loaded, and what helps."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or "bad_alloc" in said or "allocate memory" in said:
        return f"{said}: {more_memory(folder)}"
    if not isinstance(error, BundleError):
        said = f"the model cannot be loaded ({type(error).__name__}: {said[:300]})"
    return f"{said}; make it again with 'modelyard run {load_about(folder).name} --force compress'"


def more_memory(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.glob("*.onnx*"))
    free = psutil.virtual_memory().available
    return (
        f"memory is short, most likely: the model has {size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; give it more"
    )


def give_up(reason: str, counters: Path, server: psutil.Process) -> None:
    (counters / REASON).write_text(f"refusing to start: {reason}", encoding="utf-8")
    logger.error("%s", reason)
    server.send_signal(signal.SIGTERM)
    os._exit(1)  # what would be raised is logged with a traceback by whoever catches it
