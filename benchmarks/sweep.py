"""`modelyard sweep` beside plain Optuna and Ray Tune: the same space, budget, training, rows and pruning, in turns.

    python benchmarks/sweep.py [--ray FOLDER] [--project .] [--rounds 3] [--trials 12] [--only-recipe digits]

`digits` is the project's recipe with its own section `sweep`; `texts` fine-tunes a small encoder, pretrained once, on
3,000 of movie_sentiment's snippets. Each side has two processes, knows the figure of the present settings, and calls
the same training of a copy of the project; each round has another seed of the search. Ray is no dependency of the
project: `pip install --target FOLDER "ray[tune]==2.60.0"` with this Python, and `--ray FOLDER`; without it the others
run.

The processor's seconds are those of all processes of a side, with their start; the best figure is compared after as
many of them as the first side took that was through its trials. What lies between two trainings is measured by a
stopwatch that the copy has around its trainings. Memory is the largest sum of what all processes hold.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from components.recipes import load_recipe
from flows.sweep.trials.trial import PRESENT
from footprint import Footprint
from results import Row, Section, show, stop
from sweep_figures import OPTUNA, OURS, RAY, Found, gaps, notes_of, rows_of, told

ROOT = Path(__file__).resolve().parents[1]
CODE = ("components", "flows", "serving", "dvc.yaml", "pyproject.toml", ".dvcignore", ".gitignore")
STOPPED = "stopwatch.jsonl"
WORKERS = 2
LIMIT_S = 900
"""The most seconds of one search."""
STOPWATCH = """

import json as _json, os as _os, psutil as _psutil, time as _time

_fit = fit

def fit(training, *, tracker):
    began, cpu = _time.time(), _time.process_time()
    try:
        return _fit(training, tracker=tracker)
    finally:
        line = {"pid": _os.getpid(), "born": _psutil.Process().create_time(), "began": began, "ended": _time.time(),
                "cpu": _time.process_time() - cpu, "folder": str(training.checkpoints)}
        with open(_os.environ["STOPWATCH"], "a") as file:
            file.write(_json.dumps(line) + chr(10))
"""
"""What the copy of the project has at the end of components/fitting.py."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", type=Path, help="the folder that ray[tune] was installed into")
    parser.add_argument("--project", type=Path, default=ROOT, help="whose downloads are used again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12, help="of each search, the present settings among them")
    parser.add_argument("--epochs", type=int, help="of each training, instead of the recipes' own")
    parser.add_argument("--only-recipe", choices=["digits", "texts"], action="append", help="may be given again")
    args = parser.parse_args()
    if sys.platform != "linux":
        stop("the processes are looked at as Linux shows them; run this on Linux")
    if args.ray and not (args.ray / "ray").is_dir():
        stop(f"{args.ray} has no ray: pip install --target {args.ray} 'ray[tune]==2.60.0', with this Python")
    if args.rounds < 1 or args.trials < WORKERS + 2:  # so that a process trains twice
        stop(f"there is nothing to compare: --rounds must be 1 or more, and --trials {WORKERS + 2} or more")
    section, rows, notes = Section("sweep"), list[Row](), list[str]()
    names: Sequence[str] = args.only_recipe or ("digits", "texts")
    with tempfile.TemporaryDirectory(prefix="modelyard-sweep-") as folder:
        project = make_project(Path(folder) / "project", args)
        for name in names:
            sys.stderr.write(f"{name}: the present settings, up to finetune\n")
            called(["dvc", "repro", "-q", f"finetune@{name}"], project)
            found = in_turns(project, name, args)
            rows += rows_of(name, found)
            notes += notes_of(name, found)
    if not args.ray:
        notes.append('without Ray Tune, which takes --ray FOLDER (pip install --target FOLDER "ray[tune]==2.60.0")')
    show(rows)
    sys.stdout.write("\n".join(notes) + "\n")
    section.record(rows, notes=notes)


# ---------------------------------------------------------------- the project


def make_project(folder: Path, args: argparse.Namespace) -> Path:
    """Copy the code, with a stopwatch, and the two recipes."""
    folder.mkdir()
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    with (folder / "components/fitting.py").open("a", encoding="utf-8") as file:
        file.write(STOPWATCH)
    if (kept := args.project / ".modelyard" / "downloads").is_dir():
        shutil.copytree(kept, folder / ".modelyard" / "downloads")
    raw: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")["recipes"]
    recipes = {"digits": raw["digits"], "texts": texts_of(raw)}
    for recipe in recipes.values():
        recipe["sweep"] |= {"trials": args.trials, "limit_s": None}
        recipe["finetune"]["epochs"] = args.epochs or recipe["finetune"]["epochs"]
    YAML().dump({"recipes": recipes}, folder / "params.yaml")
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        called(command, folder)
    return folder


def texts_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose fine-tuning takes seconds: rows of movie_sentiment, trainings of review_sentiment_zh."""
    recipe, small = dict(raw["movie_sentiment"]), raw["review_sentiment_zh"]
    query = recipe["ingest"]["query"].split("ANTI JOIN")[0]
    model = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64, "dropout": 0.0}
    recipe |= {
        "objective": "masked",
        "ingest": recipe["ingest"] | {
            "feedback": None,
            "query": f"{query} WHERE abs(CAST(rating AS DOUBLE)) >= 0.5 AND CAST(id AS INTEGER) % 3 = 0",
        },
        "preprocess": recipe["preprocess"] | {
            "split": {"validation": 0.2, "test": 0.1, "seed": 0, "group": None},
            "tokenizer": {"kind": "train", "algorithm": "wordpiece", "vocab_size": 3000, "lowercase": True},
        },
        "pretrain": small["pretrain"] | {"model": model, "epochs": 2, "precision": "fp32"},
        "finetune": small["finetune"] | {
            "epochs": 8, "control": False, "early_stopping": None, "precision": "fp32",
            "optimizer": small["finetune"]["optimizer"] | {"learning_rate": 1.0e-3},
        },
        "sweep": {
            "space": {
                "finetune.optimizer.learning_rate": {"log": [1.0e-4, 1.0e-2]},
                "finetune.batch_size": [16, 32, 64],
                "finetune.dropout": {"uniform": [0.0, 0.4]},
            },
            "pruner": {"name": "asha", "first_epoch": 2, "factor": 3}, "objective": "validation_accuracy",
        },
    }  # fmt: skip
    recipe["validate"]["contract"]["num_rows"] = {"min": 1000, "max": 100000}
    return {key: value for key, value in recipe.items() if key not in ("schedule", "serve", "service", "monitoring")}


def environment(**extra: str) -> dict[str, str]:
    others = ("MLFLOW_", "PREFECT_", "BENTOML_", "MODELYARD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "STOPWATCH": os.devnull} | extra


def called(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


# ---------------------------------------------------------------- the rounds


def in_turns(project: Path, name: str, args: argparse.Namespace) -> dict[str, list[Found]]:
    """Have each side search with each seed, one after the other."""
    sides = [OURS, OPTUNA, *([RAY] if args.ray else [])]
    found: dict[str, list[Found]] = {side: [] for side in sides}
    for seed in range(args.rounds):
        turn = seed % len(sides)
        for side in sides[turn:] + sides[:turn]:
            out = project.parent / f"{name}-{seed}-{side.split()[0]}"
            out.mkdir()
            one = ours(project, name, out, seed) if side == OURS else a_peer(side, project, name, out, seed, args.ray)
            found[side].append(one)
            sys.stderr.write(f"{name}, seed {seed}, {side}: {told(one)}\n")
    return found


def ours(project: Path, name: str, out: Path, seed: int) -> Found:
    yaml = YAML()
    params = yaml.load(project / "params.yaml")
    params["recipes"][name]["sweep"] |= {"seed": seed, "workers": WORKERS}
    yaml.dump(params, project / "params.yaml")
    sweeps = project / ".modelyard" / "sweeps" / name
    others = set(sweeps.glob("*"))
    seen: dict[Path, float] = {}

    def look() -> None:
        for path in sweeps.glob("*/trials/*/result.json"):
            if path.parents[2] not in others:
                seen.setdefault(path, time.time())

    watched = searched(["modelyard", "sweep", name, "--json"], project, out, environment(), also=look)
    trials = {
        f"{one['number']:04d}": one | {"time": at}
        for path, at in seen.items() for one in [json.loads(path.read_text(encoding="utf-8"))]
    }  # fmt: skip
    if reasons := [one["reason"] for one in trials.values() if one["state"] == "failed"]:
        sys.exit(f"{len(reasons)} trials of {name} failed: {reasons[0]}")
    present = trials.pop(f"{PRESENT:04d}")
    done = [(one["time"], one["value"]) for one in trials.values() if one["state"] == "done"]
    sweep = load_recipe(project, name).sweep
    assert sweep is not None
    return found_of(
        watched, out, present=present["value"], done=done, ended=[one["time"] for one in trials.values()],
        num_trials=len(trials), waves={name: (one["number"] - 1) // sweep.wave for name, one in trials.items()},
    )  # fmt: skip


def a_peer(side: str, project: Path, name: str, out: Path, seed: int, ray: Path | None) -> Found:
    """Have a peer search; what it needs of the project it imports from the copy, Ray from its own folder."""
    places = [project, Path(__file__).parent, *(Path(one) for one in sys.path if one.endswith("site-packages"))]
    paths = os.pathsep.join(map(str, [*places, *([ray.resolve()] if ray and side == RAY else [])]))
    which = {OPTUNA: "optuna", RAY: "ray"}[side]
    words = [which, str(project), name, str(out), str(seed), str(WORKERS)]
    script = str(Path(__file__).with_name("sweep_peers.py"))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    watched = searched([sys.executable, script, *words], out, out, environment(PYTHONPATH=paths, **one_thread))
    epochs = YAML(typ="safe").load(project / "params.yaml")["recipes"][name]["finetune"]["epochs"]
    looks = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    present = (project / "artifacts" / name / "finetune" / "report.json").read_text(encoding="utf-8")
    return found_of(
        watched, out, present=json.loads(present)["validation_accuracy"],
        done=[(one["time"], one["value"]) for one in looks if one["epoch"] == epochs],
        ended=[one["time"] for one in looks], num_trials=len({one["trial"] for one in looks}), waves={},
    )  # fmt: skip


def searched(
    command: Sequence[str], folder: Path, out: Path, env: dict[str, str], *, also: Callable[[], None] = lambda: None
) -> tuple[Footprint, float]:
    """Run a search in a folder; return what its processes used, and the seconds that went by."""
    began, footprint, log = time.monotonic(), Footprint(), out / "log"
    with log.open("wb") as output:
        process = psutil.Popen(
            command, cwd=folder, env=env | {"STOPWATCH": str(out / STOPPED)}, stdout=output, stderr=output
        )
    code = footprint.watch(process, limit_s=LIMIT_S, also=also)
    if code:
        sys.exit(f"{' '.join(command)} ended with {code}: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
    return footprint, time.monotonic() - began


def found_of(
    watched: tuple[Footprint, float], out: Path, *, present: float, done: Sequence[tuple[float, float]],
    ended: Sequence[float], num_trials: int, waves: Mapping[str, int],
) -> Found:  # fmt: skip
    footprint, wall_s = watched
    fits = [json.loads(line) for line in (out / STOPPED).read_text(encoding="utf-8").splitlines()]
    between, first = gaps(fits, waves)
    return Found(
        best=((0.0, present), *sorted((footprint.cpu_at(when), value) for when, value in done)),
        cpu_s=footprint.cpu_s, through_s=footprint.cpu_at(max(ended)), wall_s=wall_s, peak_bytes=footprint.peak_bytes,
        num_done=len(done), num_pruned=num_trials - len(done), training_s=sum(one["cpu"] for one in fits),
        between_s=tuple(between), first_s=tuple(first),
    )  # fmt: skip


if __name__ == "__main__":
    main()
