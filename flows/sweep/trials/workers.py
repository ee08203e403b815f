"""The processes that run the trials of a wave, side by side."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ModelyardError
from components.plumbing.processes import DRIVER_VARIABLE, end, identity, last_line
from flows.sweep.trials.trial import Trial, read_trial, write_trial
from flows.sweep.trials.work import CURVE
from flows.sweep.trials.worker import SPEC

STOP_S = 10
LINES = 2
"""The lines by which a process answers to a trial."""
TRIES = 3
LOGS = "logs/worker-{}.log"
ASKED_TO_END = (130, -signal.SIGINT, -signal.SIGTERM)
"""The exit status of a process that was asked to end, which says nothing of its trial."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Workers:
    """Some processes, each of which runs one trial at a time. One that dies is followed by another."""

    def __init__(self, root: Path, folder: Path, *, count: int, threads: int) -> None:
        self.root, self.folder, self.count, self.threads = root, folder, count, threads
        self.free: list[subprocess.Popen[str]] = []
        self.all: list[subprocess.Popen[str]] = []
        self.lock = threading.Lock()
        self.is_ending = False

    def run(self, numbers: Sequence[int], *, ended: Callable[[Trial], None], may_start: Callable[[], bool]) -> None:
        """Run trials whose specs are written, and tell each as it ends, from one thread at a time; return once all
        have, but for those that may not start any more."""
        telling = threading.Lock()

        def work(number: int) -> None:
            if self.is_ending or not may_start():
                return
            trial = self.outcome(number)
            with telling:
                ended(trial)

        pool = ThreadPoolExecutor(self.count)
        try:
            for done in [pool.submit(work, number) for number in numbers]:
                done.result()
        except BaseException:
            self.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def outcome(self, number: int) -> Trial:
        """Have a process run a trial; where that ends before it begins, or is only asked to end, try another one.

        Raise ModelyardError where the process says that the sweep cannot go on, or where none begins.
        """
        folder = self.folder / "trials" / f"{number:04d}"
        code, answers = 0, list[str]()
        for _ in range(TRIES):
            worker = self.take()
            answers = ask(worker, number)
            if len(answers) == LINES:
                if words := answers[-1]:
                    raise ModelyardError(words)
                with self.lock:
                    self.free.append(worker)
                if (trial := read_trial(folder)) is not None:
                    return trial
                raise ModelyardError(f"{folder} has no result of its trial; run the same command again")
            code = worker.wait()
            if self.is_ending:
                raise KeyboardInterrupt
            if answers and code not in ASKED_TO_END:
                break
        else:
            if not answers:
                log = self.folder / LOGS.format(len(self.all) - 1)
                raise ModelyardError(f"a process for trials ended with {code} before it began: {last_line(log)}")
        spec = read_json(folder / SPEC)
        curve: list[tuple[float, float]] = read_json(folder / CURVE) if (folder / CURVE).is_file() else []
        trial = Trial(number, spec["settings"], "failed", curve=tuple(curve), reason=words_of_death(code))
        write_trial(folder, trial)
        return trial

    def take(self) -> subprocess.Popen[str]:
        with self.lock:
            if self.is_ending:
                raise KeyboardInterrupt
            while self.free:
                if (worker := self.free.pop()).poll() is None:
                    return worker
            log = self.folder / LOGS.format(len(self.all))
            log.parent.mkdir(parents=True, exist_ok=True)
            environment = os.environ | dict.fromkeys(THREADS, str(self.threads)) | {DRIVER_VARIABLE: identity()}
            with log.open("a") as output:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "flows.sweep.trials.worker", str(self.root), str(self.folder)],
                    cwd=self.root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
                    text=True, start_new_session=True,
                )  # fmt: skip
            self.all.append(worker)
            return worker

    def end(self) -> None:
        """End all processes; what they are at is carried on by the next sweep."""
        with self.lock:
            self.is_ending = True
        alive: list[psutil.Process] = []
        for worker in self.all:
            with suppress(psutil.Error):
                if worker.poll() is None:
                    alive.append(psutil.Process(worker.pid))
        end(alive, timeout_s=STOP_S)
        for worker in self.all:
            worker.wait()


def ask(worker: subprocess.Popen[str], number: int) -> list[str]:
    """Name a trial to a process, and return its answers: fewer than LINES where it ended before."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    answers: list[str] = []
    with suppress(OSError):
        worker.stdin.write(f"{number}\n")
        worker.stdin.flush()
        while len(answers) < LINES and (line := worker.stdout.readline()):
            answers.append(json.loads(line))
    return answers


def words_of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9), as the kernel does where memory runs out"
    return f"its process ended with {code}"


@contextmanager
def workers_for(root: Path, folder: Path, *, count: int, threads: int) -> Generator[Workers]:
    workers = Workers(root, folder, count=count, threads=threads)
    try:
        yield workers
    finally:
        workers.end()
