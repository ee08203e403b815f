"""The training loop beside transformers' Trainer and nanoGPT: rows or tokens per second, in turns within one run.

    python benchmarks/training.py [--reference ../nanoGPT] [--project .] [--rounds 3] [--only-work minilm]

`minilm` fine-tunes all weights of movie_sentiment's encoder on its rows, and all but the embeddings; each peer is the
Trainer as its documentation runs it. `small` and `large` train a GPT on characters, and on the tokens, of speech_gpt's
documents; the peer is a checkout of nanoGPT (https://github.com/karpathy/nanoGPT) as it is, with the settings of its
README for a CPU. The recipes must have run up to preprocess, movie_sentiment up to finetune; nothing is written there.

Each round has another seed, and both sides' models are asked the same validation rows. Each side runs in a process of
its own, and the sides take turns. The rate of a side is that of its steps after the first tenth, without looks at the
validation split. Beside them: the machine's rate of matrix products, as the limit. Writes its sections of results.md.
"""

import argparse
import json
import os
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from results import Row, Section, note_not_run, show, stop

MATRIX = 2048
MINILM_STEPS, MINILM_ROWS, PADDED_TO = 80, 32, 128
FEWER_STEPS = {"fp32 dynamic": 40, "fp32 padded": 20}
"""The steps of the sides that would take minutes."""
NUM_CHARACTERS = 65


@dataclass(frozen=True)
class Shape:
    """A GPT and its training, alike on both sides."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    vocabulary: int
    steps: int
    precision: str

    @property
    def tokens_of_a_step(self) -> int:
        return self.batch * self.context


GPTS = {
    "small": Shape(4, 4, 128, 64, 12, NUM_CHARACTERS, 600, "fp32"),
    "large": Shape(3, 8, 512, 128, 32, 4096, 40, "bf16"),
}
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
SEEDED = """
import runpy, torch
seed = torch.manual_seed
torch.manual_seed = lambda number: seed(number + {seed})
runpy.run_path("train.py", run_name="__main__")
"""
"""nanoGPT's script as it is, with another seed than its own; it has no setting for it."""
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
        section.record(found, notes=[f"the machine's matrix products, just before: {rates}"])


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


def matrix_rate(precision: str) -> float:
    """The most floating-point operations per second of a large matrix product, over several."""
    import torch

    left = torch.ones(MATRIX, MATRIX, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, left)
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX**3 / best


# GPT


def write_tokens(folder: Path, shape: Shape, *, project: Path) -> None:
    """Write the same tokens for both sides: as preprocess stores documents, and as nanoGPT reads a data set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    documents: dict[str, list[list[int]]] = {}
    sizes: dict[str, list[int]] = {}
    artifacts = project / "artifacts/speech_gpt/preprocess"
    known: dict[str, int] = {}
    for split in ("train", "validation"):
        table = pq.read_table(artifacts / f"{split}.parquet", columns=["input_ids", "num_bytes"]).to_pydict()
        documents[split], sizes[split] = table["input_ids"], table["num_bytes"]
        if shape.vocabulary == NUM_CHARACTERS:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(artifacts / "predictor/tokenizer.json"))
            texts = [tokenizer.decode(ids) for ids in documents[split]]
            if not known:  # 0 ends a text
                most = Counter(character for text in texts for character in text).most_common(NUM_CHARACTERS - 1)
                known = {character: number for number, (character, _) in enumerate(most, start=1)}
            documents[split] = [[*(known[c] for c in text if c in known), 0] for text in texts]
            sizes[split] = [len(ids) for ids in documents[split]]
    for split, lists in documents.items():
        table = pa.table(
            {
                "row": pa.array(range(len(lists)), pa.int64()),
                "input_ids": pa.array(lists, pa.list_(pa.int32())),
                "num_bytes": pa.array(sizes[split], pa.int64()),
            }
        )
        pq.write_table(table, folder / f"{split}.parquet")
        name = "train" if split == "train" else "val"
        np.concatenate([np.array(ids, dtype=np.uint16) for ids in lists]).tofile(folder / f"{name}.bin")
    (folder / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": shape.vocabulary}))  # which nanoGPT reads, not we
    settings = {"end_of_text_id": 0, "vocab_size": shape.vocabulary, "context": shape.context, "pad_token_id": 0}
    (folder / "predictor.json").write_text(json.dumps(settings), encoding="utf-8")
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({f"<{number}>": number for number in range(shape.vocabulary)}, unk_token="<0>"))
    words.save(str(folder / "tokenizer.json"))


def our_gpt(shape: Shape, folder: Path, *, seed: int) -> dict[str, float]:
    """Train with the loop as a stage does; gives the rate, and the loss on the validation windows."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    from components.fitting import Training, fit
    from components.models.facts import read_facts
    from components.models.storage import build
    from components.params import PretrainFromData
    from components.training.objective import Data

    section = PretrainFromData.model_validate(
        {
            "mode": "train",
            "source": None,
            "objective": {"name": "causal"},
            "model": {
                "family": "gpt", "num_layers": shape.layers, "num_heads": shape.heads, "hidden_size": shape.width,
                "dropout": 0.0,
            },
            "seed": seed, "epochs": 1, "steps_per_epoch": shape.steps, "batch_size": shape.batch,
            "precision": "auto",
            "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.99)},
            "schedule": {"name": "cosine", "warmup_share": 0.05},
            "clip": {"by": "norm", "limit": 1.0},
            "early_stopping": None,
        }
    )  # fmt: skip
    facts = read_facts(folder)
    data = Data(folder / "train.parquet", folder / "validation.parquet", None, folder)
    tracker, points = kept_points()
    with tempfile.TemporaryDirectory() as checkpoints:
        network = partial(build, section.model, facts)
        work = Training(
            section, facts, data, network, stage="pretrain", title="gpt", checkpoints=Path(checkpoints) / "c"
        )
        fitted = fit(work, tracker=tracker)
    loss = loss_on_windows(fitted.model, lambda ids, _: fitted.model(ids), folder, context=shape.context)
    found = {"rate": rate_of(points, "tokens_per_s"), "loss": loss}
    return found | ({"mfu": rate_of(points, "mfu")} if any("mfu" in point for point in points) else {})


def loss_on_windows(model: Any, logits_of: Any, folder: Path, *, context: int) -> float:
    """The mean loss of a model on our validation windows, in fp32, so that both sides are asked the same."""
    import torch
    from torch.nn import functional

    from components.objectives.causal import figures_of_stream, read_stream

    def loss_of(_: Any, batch: Any) -> Any:
        return functional.cross_entropy(logits_of(batch.input_ids, batch.target).flatten(0, 1), batch.target.flatten())

    stream = read_stream(folder / "validation.parquet", end_of_text_id=0)
    with torch.inference_mode():
        return figures_of_stream(model.eval(), stream, loss_of=loss_of, context=context)["validation_loss"]


def nanogpt(shape: Shape, folder: Path, reference: Path, *, seed: int) -> dict[str, float]:
    """Train with nanoGPT as its README says for a CPU; gives the rate of its steps, and its model's loss on our
    validation windows (its own figure is of 20 random batches)."""
    import torch

    data = reference / "data" / folder.name
    data.symlink_to(folder)
    settings = {
        "device": "cpu", "compile": False, "eval_iters": 20, "log_interval": 1, "block_size": shape.context,
        "batch_size": shape.batch, "n_layer": shape.layers, "n_head": shape.heads, "n_embd": shape.width,
        "max_iters": shape.steps, "lr_decay_iters": shape.steps, "dropout": 0.0, "dataset": folder.name,
        "eval_interval": shape.steps, "always_save_checkpoint": False, "out_dir": str(folder / "out"),
        "warmup_iters": shape.steps // 20, "min_lr": 0.0, "bias": True,  # as GPT-2 has them, and ours
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-c", SEEDED.format(seed=seed), "config/train_shakespeare_char.py", *words]
    try:
        printed = subprocess.run(command, cwd=reference, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        data.unlink()
    times = [float(ms) / 1000 for ms in re.findall(r"iter \d+: loss [\d.]+, time ([\d.]+)ms", printed)]
    kept = times[len(times) // 10 : -1]  # the last one includes a look at the validation split
    sys.path.insert(0, str(reference))
    from model import GPT, GPTConfig  # pyright: ignore[reportMissingImports]  # nanoGPT's own

    left = torch.load(folder / "out/ckpt.pt", weights_only=True)
    model = GPT(GPTConfig(**left["model_args"]))
    model.load_state_dict(left["model"])
    loss = loss_on_windows(model, lambda ids, target: model(ids, target)[0], folder, context=shape.context)
    return {"rate": shape.tokens_of_a_step * len(kept) / sum(kept), "loss": loss}


def kept_points() -> tuple[Any, list[dict[str, float]]]:
    """A tracker that keeps what the loop says of its rate, and the list that it fills."""
    from components.tracking.tracker import NullTracker

    points: list[dict[str, float]] = []

    class Keeping(NullTracker):
        def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
            del step
            points.append(dict(values))

    return Keeping(), points


def rate_of(points: list[dict[str, float]], name: str) -> float:
    """The harmonic mean over the points after the first tenth, which stand for as many steps each."""
    rates = [point[name] for point in points if name in point]
    return statistics.harmonic_mean(rates[len(rates) // 10 :])


# MiniLM


def our_minilm(project: Path, *, is_frozen: bool, seed: int) -> dict[str, float]:
    """Train all weights, or all but the embeddings, for a number of steps with the loop, as the stage does."""
    from components.plumbing.environment import prepare_environment

    prepare_environment()
    from components.finetune import Inputs, Outputs
    from components.finetune.adapt import run
    from components.params import Adapt
    from components.plumbing.artifacts import Layout
    from components.recipes import load_recipe
    from components.training.splits import read_rows

    params = load_recipe(project, "movie_sentiment").finetune.model_dump(mode="json")
    params |= {
        "way": {"name": "full", "freeze": ["embeddings"] if is_frozen else []}, "control": False, "epochs": 1,
        "steps_per_epoch": MINILM_STEPS, "batch_size": MINILM_ROWS, "precision": "auto", "early_stopping": None,
        "fast_dropout": True, "sparse_embeddings": not is_frozen, "pad_to_multiple_of": 4, "seed": seed,
    }  # fmt: skip
    section = Adapt.model_validate_json(json.dumps(params))
    layout, (tracker, points) = Layout(project, "movie_sentiment", "finetune"), kept_points()
    with tempfile.TemporaryDirectory() as folder:
        outputs = layout.outputs(Outputs, folder=Path(folder), fingerprint="")
        outputs = Outputs(outputs.model, outputs.control, outputs.history, Path(folder) / "checkpoints")
        report = run(section, layout.inputs(Inputs), outputs, tracker=tracker)
    found = {"rate": rate_of(points, "tokens_per_s") / tokens_a_row(project), "accuracy": report.validation_accuracy}
    found["num_looked_at"] = len(read_rows(project / "artifacts/movie_sentiment/preprocess/validation.parquet"))
    return found | ({"mfu": rate_of(points, "mfu")} if any("mfu" in point for point in points) else {})


def tokens_a_row(project: Path) -> float:
    from components.training.splits import read_rows

    rows = read_rows(project / "artifacts/movie_sentiment/preprocess/train.parquet")
    return float(np.mean([len(ids) for ids in rows.input_ids]))


def trainer(side: str, project: Path, *, is_frozen: bool, seed: int) -> dict[str, float]:
    """Train as many steps with transformers' Trainer."""
    import torch
    from torch import Tensor
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from components.plumbing.artifacts import Layout
    from components.training.splits import read_rows

    rows = read_rows(Layout(project, "movie_sentiment", "preprocess").of("preprocess") / "train.parquet")
    folder = project / "artifacts/movie_sentiment/pretrain/model"
    tokenizer = AutoTokenizer.from_pretrained(project / "artifacts/movie_sentiment/finetune/model")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=int(rows.label_id.max()) + 1)
    model.base_model.embeddings.requires_grad_(not is_frozen)
    examples = [
        {"input_ids": ids.tolist(), "labels": int(label)}
        for ids, label in zip(rows.input_ids, rows.label_id, strict=True)
    ]
    ends: list[float] = []
    seen: list[int] = []

    class Times(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    class Counting(Trainer):
        def compute_loss(self, model: Any, inputs: dict[str, Tensor], *more: Any, **named: Any) -> Any:
            seen.append(len(inputs["labels"]))
            return super().compute_loss(model, inputs, *more, **named)

    padded = side == "fp32 padded"
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out, max_steps=FEWER_STEPS.get(side, MINILM_STEPS),
            per_device_train_batch_size=MINILM_ROWS, use_cpu=True,
            bf16=side == "bf16 grouped", learning_rate=1e-4, save_strategy="no", report_to=[], disable_tqdm=True,
            train_sampling_strategy="group_by_length" if side == "bf16 grouped" else "random", seed=seed,
            warmup_steps=MINILM_STEPS // 10, weight_decay=0.01,
        )  # fmt: skip
        collator = DataCollatorWithPadding(
            tokenizer, padding="max_length" if padded else True, max_length=PADDED_TO if padded else None
        )
        Counting(
            model=model, args=settings, train_dataset=examples, data_collator=collator, callbacks=[Times()]
        ).train()  # pyright: ignore[reportArgumentType]
        looked_at = read_rows(Layout(project, "movie_sentiment", "preprocess").of("preprocess") / "validation.parquet")
        model.eval()
        with torch.inference_mode():
            right = [
                int(model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits.argmax()) == label
                for ids, label in zip(looked_at.input_ids, looked_at.label_id.tolist(), strict=True)
            ]
    first = len(ends) // 10
    return {"rate": sum(seen[first + 1 :]) / (ends[-1] - ends[first]), "accuracy": float(np.mean(right))}


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
            mine, its = (statistics.median(one["loss"] for one in rounds) for rounds in (ours, theirs))
            rows.append(Row(
                "validation loss after the same tokens, over its", off, ours=f"{mine:.3f}", peer=f"{its:.3f}", unit="",
                at_least=-LOSS_OFF, at_most=LOSS_OFF, tried=TRIED["loss"],
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


def name(work: str, side: str) -> str:
    return f"Trainer, {side}" if work == "minilm" else side


if __name__ == "__main__":
    main()
