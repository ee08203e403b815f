"""How often a window of traffic raises the alarm: of texts like those of the training, and of other domains.

    python benchmarks/drift.py [--sizes 50 100 200 500] [--windows 100] [--others 20]

Uses the artifacts of movie_sentiment and the archive that its recipe reads. Windows of the test split, which no
training saw, must raise at most the false alarms that the recipe allows; windows of amazon, editorial and tweet
snippets of the same archive must raise one each time. Windows of one size are drawn again and again from the same rows
(1,008 film snippets), so that they overlap, and the larger ones much.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from components.monitoring.detectors import detect
from components.monitoring.inputs import Reference
from components.monitoring.reference import read_reference
from components.params import Monitoring, RegistrySource
from components.plumbing.errors import ModelyardError
from components.recipes import load_recipe
from components.sources import fetch
from components.tasks import task_of
from results import Row, Section, show, stop

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "movie_sentiment"
OTHERS = ("amazonReviewSnippets", "nytEditorialSnippets", "tweets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument("--windows", type=int, default=100, help="of film snippets, a size")
    parser.add_argument("--others", type=int, default=20, help="of each other domain, a size")
    parser.add_argument("--project", type=Path, default=ROOT, help="where the artifacts are")
    args = parser.parse_args()
    section = Section("drift")
    recipe = load_recipe(ROOT, RECIPE)
    params = recipe.monitoring
    assert params is not None
    assert isinstance(recipe.ingest.source, RegistrySource)
    kind = task_of(recipe.task).monitored()
    assert kind is not None
    artifacts: Path = args.project / "artifacts" / RECIPE
    if not (artifacts / "package" / "bundle").is_dir():
        stop(f"artifacts/{RECIPE} has no bundle: 'modelyard run {RECIPE}' makes it, or --project names its project")
    with TemporaryDirectory() as folder:
        reference = read_reference(
            artifacts / "package" / "bundle",
            kind,
            train=artifacts / "preprocess" / "train.parquet",
            validation=artifacts / "preprocess" / "validation.parquet",
            kept=Path(folder) / "validation-scores.parquet",
            max_rows=params.max_reference_rows,
            seed=params.seed,
        )
        texts = {"film (held out)": pq.read_table(artifacts / "preprocess" / "test.parquet")["text"].to_pylist()}
        for name in OTHERS:
            try:
                texts[name] = snippets(recipe.ingest.source, name, project=args.project, folder=Path(folder) / name)
            except ModelyardError as error:
                stop(str(error))
        rows = [
            row_of(name, found, reference, params, sizes=args.sizes, number=number)
            for name, found in texts.items()
            for number in [args.others if name in OTHERS else args.windows]
        ]
    show(rows)
    section.record(
        rows,
        notes=[
            f"windows of {', '.join(map(str, args.sizes))} rows; fewer false alarms than one in "
            f"{round(1 / params.false_alarms):,} cannot be told from so few"
        ],
    )


def snippets(source: RegistrySource, name: str, *, project: Path, folder: Path) -> list[str]:
    """The rated snippets of another file of the recipe's archive, as the recipe chooses them."""
    member = (*source.member[:-1], f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    fetched = fetch(source.model_copy(update={"member": member}), root=project, folder=folder)
    rows = [line.split("\t", 2) for line in fetched.paths[0].read_text(encoding="utf-8").splitlines()]
    return [text for _, rating, text in rows if abs(float(rating)) >= 0.5]


def row_of(
    name: str, rows: list[str], reference: Reference, params: Monitoring, *, sizes: list[int], number: int
) -> Row:
    """How many of the windows of a domain, of all sizes, raise the alarm, and which detectors do."""
    scores = reference.predictor.predict(rows)
    raised: list[list[str]] = []
    started = time.perf_counter()
    for size in sizes:
        raised += [alarms_of(rows, scores, reference, params, size=size, seed=seed) for seed in range(number)]
        sys.stderr.write(f"{name} {size}: {sum(map(bool, raised))} of {len(raised)} so far\n")
    by = sorted({one for names in raised for one in names})
    counted = ", ".join(f"{one} {sum(one in names for names in raised)}" for one in by)
    num_raised, is_other = sum(map(bool, raised)), name in OTHERS
    return Row(
        f"alarms of {name}", [num_raised / len(raised)], f"{num_raised} of {len(raised)} windows",
        f"by {counted}" if counted else f"{(time.perf_counter() - started) / len(raised):.2f} s a window", "%",
        at_least=1.0 if is_other else None, at_most=None if is_other else params.false_alarms,
        tried="detectors are set by the splits of the training; see docs/decisions.md",
    )  # fmt: skip


def alarms_of(
    texts: list[str], scores: np.ndarray, reference: Reference, params: Monitoring, *, size: int, seed: int
) -> list[str]:
    """The detectors that a window of some of the texts sets off."""
    chosen = np.random.default_rng(seed).choice(len(texts), size, replace=False)
    window = [texts[index] for index in chosen]
    mine = params.model_copy(update={"seed": seed})
    return [f.detector for f in detect(window, [len(t) for t in window], scores[chosen], reference, mine) if f.is_alarm]


if __name__ == "__main__":
    main()
