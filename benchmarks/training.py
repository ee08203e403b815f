"""The training loop beside transformers' Trainer and nanoGPT: rows or tokens per second, in turns within one run.

    python benchmarks/training.py [--reference ../nanoGPT] [--project .] [--rounds 3] [--only-work minilm]

`minilm` fine-tunes all weights of movie_sentiment's encoder on its rows, and all but the embeddings; each peer is the
Trainer as its documentation runs it. `small` and `large` train a GPT on characters, and on the tokens, of speech_gpt's
documents; the peer is a checkout of nanoGPT (https://github.com/karpathy/nanoGPT) as it is, with the settings of its
README for a CPU. The recipes must have run up to preprocess, movie_sentiment up to finetune; nothing is written there.

Each round has another seed, and both sides' models are asked the same validation rows. Each side runs in a process of
its own, and the sides take turns. The rate of a side is that of its steps after the first tenth, without looks at the
validation split. Beside them: the machine's rate of matrix products, as the limit. How far two losses are apart is the
mean over the seeds, with its interval at 95 %, which `--only-work small --rounds 8` narrows. Writes its sections of
results.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training_gpt import GPTS, nanogpt, our_gpt, write_tokens
from training_minilm import our_minilm, trainer
from training_rates import matrix_rate

from results import Row, Section, note_not_run, show, stop

SIDES = {
    "minilm": ("ours", "bf16 grouped", "fp32 dynamic", "fp32 padded", "ours frozen", "bf16 grouped frozen"),
    "small": ("ours", "nanoGPT"),
    "large": ("ours", "nanoGPT"),
}
FROZEN = " frozen"
"""What the name of a side ends with that leaves the embeddings as they are, as the recipe does."""
TITLES = {"minilm": "training, MiniLM", "small": "training, small GPT", "large": "training, large GPT"}
AT_LEAST = {
    "minilm": {"bf16 grouped": 1.25, "fp32 dynamic": 3.8, "fp32 padded": 10.0},
    "small": {"nanoGPT": 1.3},
    "large": {"nanoGPT": 2.0},
}
"""How many times as fast as a peer ours is to be."""
SHARE_OF_RATE = {"large": 0.65}
"""The share of the bf16 rate that ours is to have."""
LOSS = "validation loss after the same tokens, over its"
LOSS_OFF = 0.02
"""How far the validation loss may be from the peer's."""
TRIED = {
    "minilm": "bf16, rows by length, dropout by four masks a draw, embeddings by rows are in; see docs/decisions.md",
    "large": "softmax and cross-entropy over the vocabulary are a quarter, in chunks no faster; see docs/decisions.md",
    "loss": "both are asked the same windows in fp32, each round with another seed; see docs/decisions.md",
}
"""What was tried where a figure falls short."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="a checkout of nanoGPT; without it, the GPTs have no peer")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-work", choices=list(SIDES), action="append", help="may be given again; all by default")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        work, side = args.side.split("/")
        print(json.dumps(measured(work, side, args)))  # noqa: T201
        return
    for recipe in ("movie_sentiment", "speech_gpt"):
        if not (args.project / "artifacts" / recipe / "preprocess").is_dir():
            stop(f"artifacts/{recipe} is not there: 'modelyard run {recipe}' makes it, or --project names its project")
    for work in args.only_work or SIDES:
        if work in GPTS and not args.reference:
            note_not_run([TITLES[work]], "a checkout of nanoGPT is needed (--reference)")
            continue
        section = Section(TITLES[work])
        limits = json.loads(in_own_process(["--side", "limits/both"]))
        found = rows_of(work, compared(work, args))
        show(found, title=TITLES[work])
        rates = ", ".join(f"{precision} {rate / 1e9:.0f} GFLOP/s" for precision, rate in limits.items())
        notes = [f"the machine's matrix products, just before: {rates}"]
        section.record(found, notes=notes + [said_of_seeds(row) for row in found if row.what == LOSS])


def compared(work: str, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Each side's figures of each round, the sides in turns."""
    sides = [side for side in SIDES[work] if side != "nanoGPT" or args.reference]
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(prefix="modelyard-training-") as name:
        folder = Path(name)
        if work in GPTS:
            write_tokens(folder, GPTS[work], project=args.project)
        for number in range(args.rounds):
            for side in sides:
                words = ["--side", f"{work}/{side}", "--folder", name, "--project", str(args.project.resolve())]
                words += ["--seed", str(number)]
                reference = ["--reference", str(args.reference.resolve())] if args.reference else []
                found[side].append(json.loads(in_own_process([*words, *reference])))
    return found


def in_own_process(words: list[str]) -> str:
    """The last line that this script prints when it is started anew."""
    # Each side's threads wait as they do by default: what our process prepares is not for its peers.
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True, env=own)
    return done.stdout.splitlines()[-1]


def measured(work: str, side: str, args: argparse.Namespace) -> dict[str, float]:
    if work == "limits":
        return {precision: matrix_rate(precision) for precision in ("fp32", "bf16")}
    if side == "nanoGPT":
        return nanogpt(GPTS[work], args.folder, args.reference, seed=args.seed)
    if work in GPTS:
        return our_gpt(GPTS[work], args.folder, seed=args.seed)
    peer, is_frozen = side.removesuffix(FROZEN), side.endswith(FROZEN)
    if peer == "ours":
        return our_minilm(args.project, is_frozen=is_frozen, seed=args.seed)
    return trainer(peer, args.project, is_frozen=is_frozen, seed=args.seed)


def rows_of(work: str, found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Row]:
    """Ours over each peer, the share of the machine's rate, and how far the losses are from each other."""
    if frozen := {side.removesuffix(FROZEN): figures for side, figures in found.items() if side.endswith(FROZEN)}:
        others = {side: figures for side, figures in found.items() if not side.endswith(FROZEN)}
        also = [replace(row, what=f"embeddings frozen: {row.what}", at_least=None) for row in rows_of(work, frozen)]
        return rows_of(work, others) + also
    ours, unit = found["ours"], "rows/s" if work == "minilm" else "tokens/s"

    def told(side: str) -> str:
        return f"{statistics.median(one['rate'] for one in found[side]):,.0f} {unit}"

    rows = [
        Row(
            f"rate beside {name(work, side)}",
            [mine["rate"] / its["rate"] for mine, its in zip(ours, theirs, strict=True)],
            ours=told("ours"), peer=told(side), at_least=AT_LEAST[work].get(side), tried=TRIED.get(work, ""),
        )
        for side, theirs in found.items() if side != "ours"
    ]  # fmt: skip
    if all("mfu" in one for one in ours):
        shares = [one["mfu"] for one in ours]
        rows.append(Row(
            "share of the rate of matrix products", shares, unit="%", at_least=SHARE_OF_RATE.get(work),
            tried=TRIED.get(work, ""),
        ))  # fmt: skip
    for side, theirs in found.items():
        if side != "ours" and "loss" in ours[0] and "loss" in theirs[0]:
            off = [mine["loss"] - its["loss"] for mine, its in zip(ours, theirs, strict=True)]
            mine, its = (statistics.fmean(one["loss"] for one in rounds) for rounds in (ours, theirs))
            rows.append(Row(
                LOSS, off, ours=f"{mine:.3f}", peer=f"{its:.3f}", unit="",
                at_least=-LOSS_OFF, at_most=LOSS_OFF, tried=TRIED["loss"], by="mean",
            ))  # fmt: skip
        if side != "ours" and "accuracy" in ours[0] and "accuracy" in theirs[0]:
            missing = [its["accuracy"] - mine["accuracy"] for mine, its in zip(ours, theirs, strict=True)]
            mine, its = (statistics.median(one["accuracy"] for one in rounds) for rounds in (ours, theirs))
            interval = 1.96 * (mine * (1 - mine) / ours[0]["num_looked_at"]) ** 0.5
            rows.append(Row(
                f"accuracy after the same steps, below that of {name(work, side)}", missing, ours=f"{mine:.3f}",
                peer=f"{its:.3f}", unit="", at_most=round(interval, 3),
            ))  # fmt: skip
    return rows


def said_of_seeds(row: Row) -> str:
    """Return in words what the rounds, of a seed each, can tell of how far two losses are apart."""
    apart = f"of {len(row.values)} seed(s) the losses are {min(row.values):.3f} to {max(row.values):.3f} apart"
    if row.interval <= LOSS_OFF:
        return f"{apart}, {row.value:.3f} ± {row.interval:.3f} in the mean"
    return (
        f"{apart}: seeds differ by too much for so few of them to tell {LOSS_OFF}, since the mean is sure to "
        f"± {row.interval:.3f} only; more --rounds narrow it"
    )


def name(work: str, side: str) -> str:
    return f"Trainer, {side}" if work == "minilm" else side


if __name__ == "__main__":
    main()
