"""What the benchmarks found, in one form: benchmarks/results.md, with a section for each part that was measured.

A script makes a `Section` when it begins and records its rows when it ends, which renews that section alone. What could
not be run is noted beside what was found before. `results.json` keeps what the page is written from.
"""

import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Literal, Never

VARIABLE = "MODELYARD_RESULTS"
"""The environment variable with another folder for the page and what it is written from."""
CANNOT_RUN = 2
"""The exit status of a benchmark that lacks what it needs here."""
ORDER = (
    "training, MiniLM", "training, small GPT", "training, large GPT", "loop", "memory", "finetuning_ways",
    "generation", "compression", "service", "ingest", "orchestration", "drift", "sweep", "gpu",
)  # fmt: skip
"""The sections in their order; others come after them."""
PACKAGES = ("torch", "transformers", "onnxruntime", "mlflow", "bentoml", "prefect", "dvc", "optuna", "pandas")
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
"""Student's t at 97.5 % for 1, 2, ... degrees of freedom, since a GPU's machine has no scipy; of more, the last."""
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")

Unit = Literal["x", "%", ""]


@dataclass(frozen=True)
class Row:
    """One figure, with the two measurements that it compares."""

    what: str
    values: Sequence[float]
    """The figure in each round. Shares are given as such: 0.57 for 57 %."""
    ours: str = ""
    peer: str = ""
    unit: Unit = "x"
    at_least: float | None = None
    at_most: float | None = None
    """What is asked of the figure that counts; None where nothing is, and it is there to be read."""
    tried: str = ""
    """Why the figure is what it is, and what was tried: told where it is not what is asked."""
    by: Literal["median", "mean"] = "median"
    """What counts of the rounds: the mean, with its interval, where each is a draw of chance, such as a seed."""

    @property
    def value(self) -> float:
        return median(self.values) if self.by == "median" else fmean(self.values)

    @property
    def interval(self) -> float:
        """How far the mean may be off, at 95 %, by Student's t; infinite of a single round."""
        number = len(self.values)
        return STUDENT_T[min(number - 1, len(STUDENT_T)) - 1] * stdev(self.values) / number**0.5 if number > 1 else inf

    @property
    def is_sure(self) -> bool:
        """Whether all of a mean's interval is what is asked."""
        return self.by == "median" or (
            (self.at_least is None or self.value - self.interval >= self.at_least)
            and (self.at_most is None or self.value + self.interval <= self.at_most)
        )

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is what is asked; None where nothing is."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row of a table: what, ours, peer, figure, rounds, asked, met."""
        rounds = ""
        if len(self.values) > 1:
            rounds = f"{shown(min(self.values), '')} to {shown(max(self.values), self.unit)}"
            if self.unit == "%":
                rounds = f"{shown(min(self.values), '%')} to {shown(max(self.values), '%')}"
        if self.by == "mean" and len(self.values) > 1:
            rounds += f", mean ± {shown(self.interval, self.unit)}"
        asked = [
            f"{sign} {shown(limit, self.unit)}"
            for sign, limit in (("≥", self.at_least), ("≤", self.at_most))
            if limit is not None
        ]
        met = {None: "", True: "yes" if self.is_sure else "yes, not surely", False: "**no**"}[self.is_met]
        return self.what, self.ours, self.peer, shown(self.value, self.unit), rounds, ", ".join(asked), met


HEAD = ("what", "ours", "beside it", "figure", "rounds", "asked", "met")


def shown(value: float, unit: Unit) -> str:
    """Return a figure with three digits and its unit."""
    if unit == "%":
        return f"{value:.1%}".replace("%", " %")
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} \N{MULTIPLICATION SIGN}" if unit == "x" else text


class Section:
    """A part of the page that one run of a benchmark renews; made when it begins."""

    def __init__(self, name: str, *, began: float | None = None) -> None:
        """`began` is when that was, on the clock of time.monotonic, where it was not now."""
        self.name = name
        folder().mkdir(parents=True, exist_ok=True)  # before minutes of work, for what cannot be written
        self._load = os.getloadavg()[0]
        self._began = time.monotonic() if began is None else began

    def record(
        self, rows: Sequence[Row], *, notes: Sequence[str] = (),
        tables: Mapping[str, Sequence[Sequence[str]]] | None = None, device: str = "",
    ) -> None:  # fmt: skip
        """Write the rows, with lines to be read below them, in place of what the section had.

        `tables` are further tables by their titles, the head of each first. `device` is what the work was done on,
        where that was not the processor.
        """
        found: dict[str, Any] = {
            "rows": [asdict(row) | {"values": list(row.values)} for row in rows],
            "notes": list(notes),
            "command": command(sys.argv),
            "date": today(),
            "seconds": round(time.monotonic() - self._began),
            "load": round(self._load, 2),
            "machine": ", ".join(filter(None, [device, machine()])),
            "packages": packages(),
        }
        if tables:
            found["tables"] = {title: [list(line) for line in lines] for title, lines in tables.items()}
        write({**kept(), self.name: found})


def note_not_run(names: Sequence[str], reason: str, *, has_failed: bool = False) -> None:
    """Note that sections could not be renewed, and why; what was found before stays below the note."""
    folder().mkdir(parents=True, exist_ok=True)
    found = kept()
    for name in names:
        verb = "failed" if has_failed else "could not be run"
        found[name] = {**found.get(name, {}), "not_run": f"{verb} on {today()}: {without_folders(reason)}"}
    write(found)


def without_folders(text: str) -> str:
    """Return a text with the last part alone of each absolute path, since folders are of this machine alone."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\"]+/)+", "", text)


def stop(reason: str) -> Never:
    """End a benchmark that lacks what it needs here, with the reason."""
    sys.stderr.write(f"{reason}\n")
    sys.exit(CANNOT_RUN)


def show(rows: Sequence[Row], *, title: str = "") -> None:
    """Print the rows as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None)
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("what", "ours", "beside it", "met") else "right")
    for row in rows:
        table.add_row(*(cell.replace("*", "") for cell in row.cells()))
    Console(width=150).print(table)


# The files.


def folder() -> Path:
    return Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parent)


def kept() -> dict[str, Any]:
    """Return what was found so far, by section."""
    path = folder() / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(found: Mapping[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    for name, content in {"results.json": text, "results.md": page(json.loads(text))}.items():
        part = folder() / f"{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(folder() / name)


def page(found: Mapping[str, Any]) -> str:
    names = [name for name in ORDER if name in found] + sorted(set(found) - set(ORDER))
    rows = {name: [Row(**row) for row in found[name].get("rows", [])] for name in names}
    asked = [(name, row) for name in names for row in rows[name] if row.is_met is not None]
    num_met = sum(row.is_met is True for _, row in asked)
    lines = [
        "# What the benchmarks found",
        "",
        "Written by `make bench`; a script of this folder that runs alone renews its own section. Each figure compares",
        "two measurements of one run, taken in turns: the median of the rounds (the mean, where each is a seed), and",
        "the least and the most of them. A section names its day, its machine, and how much else that had to do.",
        "",
        f"## What was asked: {num_met} of {len(asked)} met",
        "",
        *table(("", "what", "asked", "figure", "rounds", "met"), [summary(name, row) for name, row in asked]),
    ]
    for name in names:
        lines += section(name, found[name], rows[name])
    return "\n".join(lines) + "\n"


def summary(name: str, row: Row) -> tuple[str, ...]:
    what, _, _, figure, rounds, asked, met = row.cells()
    return name, what, asked, figure, rounds, met


def section(name: str, of: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    lines = ["", f"## {name}", ""]
    if reason := of.get("not_run"):
        lines += [f"**This {reason}**" + (" What follows is of before." if rows else ""), ""]
    if not rows:
        return lines[:-1]
    minutes, seconds = divmod(of["seconds"], 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    versions = ", ".join(f"{package} {number}" for package, number in of["packages"].items())
    lines += [
        f"`{of['command']}` on {of['date']}, in {took}; load at the start {of['load']:g}.",
        f"{of['machine']}; {versions}.",
        "",
        *table(HEAD, [row.cells() for row in rows]),
    ]
    short = [
        f"- {row.what}, {shown(row.value, row.unit)}: {row.tried or 'not looked into'}"
        for row in rows
        if row.is_met is False
    ]
    if short:
        lines += ["", "What falls short:", *short]
    for title, (head, *lines_of) in of.get("tables", {}).items():
        lines += ["", f"{title}:", "", *table(head, lines_of)]
    if of["notes"]:
        lines += ["", *(f"- {note}" for note in of["notes"])]
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, without the columns in which nothing stands."""
    if not rows:
        return []
    filled = [at for at in range(len(head)) if any(row[at] for row in rows)]
    lines = [[head[at] for at in filled], ["---"] * len(filled)]
    lines += [[row[at].replace("|", "\\|") for at in filled] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


# Where it was.


def machine() -> str:
    """Return the processor, its cores and instructions, and the memory."""
    names, flags = "", ""
    for line in cpuinfo():
        key, _, value = line.partition(":")
        names = names or (value.strip() if key.strip() == "model name" else "")
        flags = flags or (value if key.strip() == "flags" else "")
    known = " ".join(one for one in INSTRUCTIONS if one in flags.split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return ", ".join(filter(None, [names or platform.machine(), f"{os.cpu_count()} cores", known, f"{memory:.0f} GiB"]))


def cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


def packages() -> dict[str, str]:
    """Return the versions of Python and of what is compared, where they are installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def command(argv: Sequence[str]) -> str:
    """Return the command line of a script of this folder, without what is of this machine alone."""
    script = f"benchmarks/{Path(argv[0]).name}"
    return " ".join(["python", script, *(Path(word).name if Path(word).is_absolute() else word for word in argv[1:])])
