"""Run the benchmarks one after another, and write what they found to benchmarks/results.md.

    python benchmarks [--reference ../nanoGPT] [--ray FOLDER] [--peers FOLDER] [--project .] [--only NAME ...] [--long]

What else the machine does is in the figures, so it should do nothing. One that fails, or that lacks what it needs
here (a GPU, a checkout of nanoGPT, the artifacts of a recipe), is noted with its reason, and the next one follows.
Exits with 0 where each ran or could not be run here, and 1 where one failed.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results import CANNOT_RUN, kept, note_not_run

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 3600
"""The most seconds of one benchmark."""


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder."""

    name: str
    sections: Sequence[str]
    """The sections of the page that it renews."""
    minutes: float
    """What it takes, about, on two cores."""
    words: Sequence[str] = ()
    """What it is asked, unless all of it is wanted."""
    long_words: Sequence[str] = ()
    """What it is asked for `--long`."""
    takes: Sequence[str] = ()
    """The paths of ours that are passed on to it: `project`, `reference`, `ray`, `peers`."""


BENCHMARKS = (
    Benchmark(
        "training", ("training, MiniLM", "training, small GPT", "training, large GPT"), 7,
        ["--rounds", "2"], ["--rounds", "5"], takes=("project", "reference"),
    ),
    Benchmark("loop", ("loop",), 5, ["--rounds", "6"], ["--rounds", "12"]),
    Benchmark("memory", ("memory",), 3, ["--steps", "1"], ["--picture", "docs/memory.png"]),
    Benchmark("finetuning_ways", ("finetuning_ways",), 2, ["--steps", "40"], takes=("project",)),
    Benchmark("generation", ("generation",), 1, ["--rounds", "3"], ["--rounds", "10"]),
    Benchmark(
        "compression", ("compression",), 15, ["--rounds", "3"], ["--rounds", "7"], takes=("project", "peers"),
    ),
    Benchmark("service", ("service",), 3, ["--rounds", "2", "--seconds", "3"], takes=("project",)),
    Benchmark("ingest", ("ingest",), 1),
    Benchmark("orchestration", ("orchestration",), 2, ["--rounds", "1"], ["--rounds", "3"]),
    Benchmark("drift", ("drift",), 1, ["--sizes", "50", "200", "--windows", "10", "--others", "3"], takes=("project",)),
    Benchmark(
        "sweep", ("sweep",), 10, ["--rounds", "3", "--trials", "12"], ["--rounds", "5", "--trials", "24"],
        takes=("project", "ray"),
    ),
    Benchmark("gpu", ("gpu",), 0),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a checkout of nanoGPT, for the GPTs of training")
    parser.add_argument("--ray", type=Path, help="the folder that ray[tune] was installed into, for sweep")
    parser.add_argument("--peers", type=Path, help="the folder with CTranslate2 and OpenVINO, for compression")
    parser.add_argument("--project", type=Path, default=ROOT, help="where the artifacts of the recipes are")
    parser.add_argument("--only", choices=[one.name for one in BENCHMARKS], nargs="+", help="these alone")
    parser.add_argument("--long", action="store_true", help="more rounds, and all rows")
    args = parser.parse_args()
    wanted = [one for one in BENCHMARKS if not args.only or one.name in args.only]
    say(f"{len(wanted)} benchmarks, about {sum(one.minutes for one in wanted):.0f} minutes without --long")
    faults: list[str] = []
    began = time.monotonic()
    for number, one in enumerate(wanted, start=1):
        say(f"== {number}/{len(wanted)} {one.name}, about {one.minutes:g} min")
        paths = {"project": args.project, "reference": args.reference, "ray": args.ray, "peers": args.peers}
        passed = [word for name in one.takes if paths[name] for word in (f"--{name}", str(paths[name].resolve()))]
        started, before = time.monotonic(), kept()
        code, last = run([f"{one.name}.py", *(one.long_words if args.long else one.words), *passed])
        took = f"{one.name}: {time.monotonic() - started:.0f} s"
        left = [name for name in one.sections if code and kept().get(name) == before.get(name)]
        if code == CANNOT_RUN:
            note_not_run(left, last)
            took += f", could not be run: {last}"
        elif code:
            note_not_run(left, last, has_failed=True)
            faults.append(one.name)
            took += f", FAILED with {code}"
        say(took)
    say(f"{time.monotonic() - began:.0f} s in all; benchmarks/results.md has what was found")
    if faults:
        say(f"failed: {', '.join(faults)}")
    return bool(faults)


def run(words: Sequence[str]) -> tuple[int, str]:
    """Run a script of this folder, and show what it prints; return its exit status, and its last line."""
    script, *rest = words
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / script), *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None

    def end() -> None:
        os.killpg(process.pid, signal.SIGKILL)  # with what it started

    timer = threading.Timer(LIMIT_S, end)
    timer.start()
    last = ""
    try:
        with process.stdout as lines:
            for line in lines:
                sys.stdout.write(line)
                sys.stdout.flush()
                last = line.strip() or last
        return process.wait(), last
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
