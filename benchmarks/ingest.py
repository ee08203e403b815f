"""Memory and speed of ingest on a large csv, beside pandas reading the same file whole.

    python benchmarks/ingest.py [--rows 5000000] [--rounds 2]

Compares rows/s and the peak resident memory, each of a process that does only that.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from components.ingest import Inputs, Outputs, run
from components.params import CsvFormat, FileSource, Ingest
from components.tracking.tracker import NullTracker
from results import Row, Section, show

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=list(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        measure(args.only, args.folder)
        return
    section = Section("ingest")
    with tempfile.TemporaryDirectory() as folder:
        size = write_csv(Path(folder) / "rows.csv", args.rows)
        rounds = [{name: in_own_process(name, Path(folder)) for name in READERS} for _ in range(args.rounds)]
    seconds, peaks = ([[one[name][at] for one in rounds] for name in READERS] for at in (0, 1))
    (ours_s, peer_s), (ours_peak, peer_peak) = seconds, peaks

    def told(seconds: list[float]) -> str:
        return f"{args.rows / median(seconds):,.0f} rows/s"

    faster = [its / mine for mine, its in zip(ours_s, peer_s, strict=True)]
    larger = [mine / its for mine, its in zip(ours_peak, peer_peak, strict=True)]
    rows = [
        Row("rows a second", faster, told(ours_s), told(peer_s)),
        Row("peak memory", larger, f"{median(ours_peak) / GIB:.2f} GiB", f"{median(peer_peak) / GIB:.2f} GiB"),
    ]
    show(rows, title="ingest beside pandas")
    section.record(
        rows, notes=[f"{args.rows:,} rows of csv, {size / GIB:.2f} GiB, beside pandas' read_csv and to_parquet"]
    )


def write_csv(path: Path, num_rows: int) -> int:
    """Rows of about 120 bytes, a tenth of them quoted with a line break inside; gives the file's size."""
    words = "the film is a slow and warm story of a family that keeps an old cinema alive through the war".split()
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text,label\n")
        for number in range(num_rows):
            text = " ".join(words[number * (place + 1) % len(words)] for place in range(18)) + f" {number}"
            quoted = f'"{text},\nand more"' if number % 10 == 0 else text
            file.write(f"{number},{quoted},{'positive' if number % 2 else 'negative'}\n")
    return path.stat().st_size


def in_own_process(name: str, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--only", name, "--folder", str(folder)]
    seconds, peak = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def measure(name: str, folder: Path) -> None:
    """Print the seconds and the peak bytes of this process."""
    started = time.monotonic()
    READERS[name](folder)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(seconds, peak)  # noqa: T201


def ingest(folder: Path) -> None:
    params = Ingest(
        source=FileSource(kind="file", path="rows.csv"),
        format=CsvFormat(type="csv", delimiter=",", quote='"', header=True, encoding="utf-8"),
        query="SELECT text, label FROM source WHERE text IS NOT NULL",
        licence="none",
        max_bad_share=0.0,
        watch="rows.csv",
    )
    out = Path(tempfile.mkdtemp(dir=folder))
    run(
        params,
        Inputs(project=folder),
        Outputs(data=out / "data.parquet", card=out / "card.json", work=out / "work", observations=out),
        tracker=NullTracker(),
    )


def pandas(folder: Path) -> None:
    import pandas as pd

    pd.read_csv(folder / "rows.csv", dtype=str)[["text", "label"]].to_parquet(folder / "pandas.parquet", index=False)


READERS = {"ingest": ingest, "pandas": pandas}

if __name__ == "__main__":
    main()
