"""Compressed models as they are served, beside the same models in the runtimes that one would use by hand.

    python benchmarks/compression.py [--peers FOLDER] [--project .] [--rounds 5] [--recipes NAME ...] [--model FOLDER]

Classifiers: torch fp32, ONNX Runtime in fp32 and after quantize_dynamic, CTranslate2 in int8, and OpenVINO after nncf's
static quantization, each at its best: of batches of 1 to 128 rows of like lengths, and of one call on two threads or
two on one, the fastest on some of the rows is taken; torch also has both kinds of attention, ONNX Runtime its fused
graph. All read the same validation and test rows, from texts or numbers to scores, in turns within each round.
Language models: tokens a second of writing, beside torch that keeps its state.

CTranslate2 and OpenVINO are no dependencies of the project: `pip install --target FOLDER` with ctranslate2==4.8.5,
openvino==2026.4.1 and nncf==3.4.0, and `--peers FOLDER`; without it the others run. `--model` is another folder of a
compressed model than the recipe's own.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from components.plumbing.environment import prepare_environment
from components.recipes import load_yaml
from compression_figures import OURS, REFERENCE, Changed, Found, changed_of, judged_of, rows_of, table_of
from compression_peers import PACKAGES, PEERS, add_folder
from compression_sides import (
    UNLIKE,
    Side,
    Subject,
    Way,
    fastest,
    onnxruntime_fp32,
    onnxruntime_int8,
    ours,
    rows_per_s,
    subject_of,
    torch_fp32,
    torch_row_by_row,
)
from compression_writing import rows_of_writing
from results import Row, Section, show, stop

ROOT = Path(__file__).resolve().parents[1]
CLASSIFIERS = ("text_classification", "array_classification")
WRITERS = ("text_generation",)
AT_LEAST_S, TRIED_S = 0.5, 0.15
"""The least seconds of a measurement, and of one by which a way is chosen; rows that take less are run again."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="the folder that CTranslate2, OpenVINO and nncf were installed into")
    parser.add_argument("--project", type=Path, default=ROOT, help="where the artifacts are")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--model", type=Path, help="another folder of the compressed model, for one recipe")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="the most rows of a split, to try this script")
    parser.add_argument("--single", type=int, default=200, help="rows that are timed one by one")
    args = parser.parse_args()
    prepare_environment()
    tasks = wanted(args)
    if args.peers and (missing := add_folder(args.peers)):
        stop(f"{args.peers} lacks {', '.join(missing)}: pip install --target {args.peers} {' '.join(PACKAGES)}")
    section, rows, notes, tables = Section("compression"), list[Row](), list[str](), dict[str, Any]()
    with TemporaryDirectory(prefix="modelyard-compression-") as scratch:
        for recipe, task in tasks.items():
            model = args.model or args.project / "artifacts" / recipe / "compress" / "model"
            if task in CLASSIFIERS:
                subject = subject_of(args.project, recipe, task, Path(scratch))
                found = compared(subject, model, args, notes)
                rows += rows_of(recipe, found)
                tables[recipe] = table_of(found)
            else:
                more, note = rows_of_writing(args.project, recipe, task, model, rounds=args.rounds)
                rows += more
                notes.append(note)
    if not args.peers:
        notes.append(
            f"without CTranslate2 and OpenVINO, which take --peers FOLDER (pip install --target FOLDER "
            f"{' '.join(PACKAGES)})"
        )
    show(rows)
    sys.stdout.write("\n".join(notes) + "\n")
    section.record(rows, notes=notes, tables=tables)


def wanted(args: argparse.Namespace) -> dict[str, str]:
    """Return the tasks of the recipes that have a compressed model, by their names."""
    recipes: Mapping[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]
    there = {
        name: str(recipe["task"]) for name, recipe in recipes.items()
        if recipe["task"] in (*CLASSIFIERS, *WRITERS)
        and (args.project / "artifacts" / name / "compress" / "model").is_dir()
    }  # fmt: skip
    if missing := [name for name in args.recipes or [] if name not in there]:
        stop(f"there is no compressed model of {missing[0]}: 'modelyard run {missing[0]}' makes it")
    if not there:
        stop("no recipe has a compressed model: 'modelyard run' makes them, or --project names their project")
    if args.model and len(args.recipes or there) != 1:
        stop("--model is of one recipe: name it with --recipes")
    return {name: task for name, task in there.items() if name in (args.recipes or there)}


def compared(subject: Subject, model: Path, args: argparse.Namespace, notes: list[str]) -> dict[str, Found]:
    """Compare the sides on the rows of one recipe."""
    trial = subject.trial
    splits = {"validation": trial.validation, "test": trial.test_split}
    given = {name: split.rows[: args.rows] for name, split in splits.items()}
    rows = [row for several in given.values() for row in several]
    sides, chosen, alone = list[Side](), dict[str, Way](), dict[str, Way]()
    makers = (
        torch_fp32,
        torch_row_by_row,
        lambda one: ours(one, model),
        onnxruntime_fp32,
        onnxruntime_int8,
        *(PEERS if args.peers else ()),
    )
    for make in makers:
        side = make(subject)
        if side is None:
            notes.append(f"{subject.recipe}: without CTranslate2, which has no such network")
            continue
        sides.append(side)
        chosen[side.name] = fastest(side.ways, rows, at_least_s=TRIED_S)
        alone[side.name] = quickest(side.alone, rows)
        say(f"{subject.recipe}, {side.name}: {chosen[side.name].words}; one row: {alone[side.name].words}")
    scores = {side.name: chosen[side.name].runner.predict(rows) for side in sides}  # and warms up for all lengths
    rates = in_turns(chosen, rows, rounds=args.rounds)
    latencies = one_by_one(alone, rows[: args.single])
    guesses = {name: one.argmax(axis=1) for name, one in scores.items()}
    parts = np.split(np.arange(len(rows)), [len(given["validation"])])
    actual = {name: split.label_id[: args.rows] for name, split in splits.items()}
    found: dict[str, Found] = {}
    for side in sides:
        as_measured, in_batches = batches_of(side, chosen[side.name], rows, scores[side.name])
        p50_ms, p99_ms = (float(np.percentile(latencies[side.name], at)) for at in (50, 99))
        judged = {
            name: judged_of(actual[name], guesses[REFERENCE][part], guesses[side.name][part])
            for name, part in zip(splits, parts, strict=True)
        }
        found[side.name] = Found(
            side.name, chosen[side.name].words, rates[side.name], judged, side.size_bytes, p50_ms, p99_ms, as_measured,
            in_batches, side.safety,
        )  # fmt: skip
    assert OURS in found
    return found


def in_turns(chosen: Mapping[str, Way], rows: Sequence[Any], *, rounds: int) -> dict[str, list[float]]:
    """Return each side's rows a second in each round; another one begins each time."""
    names, rates = list(chosen), {name: list[float]() for name in chosen}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            rates[name].append(rows_per_s(chosen[name], rows, at_least_s=AT_LEAST_S))
        say(f"round {number + 1}: " + ", ".join(f"{name} {rates[name][-1]:,.0f}/s" for name in names))
    return rates


def quickest(ways: Sequence[Way], rows: Sequence[Any]) -> Way:
    """Return the way in which a single row takes the least time."""
    ways_by_words = {way.words: way for way in ways}
    if len(ways_by_words) == 1:
        return ways[0]
    took = one_by_one(ways_by_words, rows[:30])
    return min(ways, key=lambda way: np.median(took[way.words][10:] or took[way.words]))


def one_by_one(ways: Mapping[str, Way], rows: Sequence[Any]) -> dict[str, list[float]]:
    """Return each way's milliseconds of each row alone; the ways take a row in turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for row in rows:
        for name, way in ways.items():
            started = time.perf_counter()
            way.runner.predict([row])
            took[name].append(1000 * (time.perf_counter() - started))
    return took


def batches_of(side: Side, way: Way, rows: Sequence[Any], scores: Any) -> tuple[Changed, Changed]:
    """Compare the scores of rows alone with those among others: as the side was run, and in batches of rows as they
    come, of unlike lengths."""
    at = np.random.default_rng(0).permutation(len(rows))[:512]
    alone = np.concatenate([way.runner.predict([rows[row]]) for row in at])
    as_measured = changed_of(alone, scores[at])
    alone = np.concatenate([side.unlike.predict([rows[row]]) for row in at])
    among = [
        side.unlike.predict([rows[row] for row in at[start : start + UNLIKE]]) for start in range(0, len(at), UNLIKE)
    ]
    return as_measured, changed_of(alone, np.concatenate(among))


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
