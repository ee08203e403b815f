"""The GPTs of benchmarks/training.py: the same tokens for both sides, our loop, and nanoGPT as it is."""

import json
import pickle
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from training_rates import kept_points, rate_of

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
SEEDED = """
import runpy, torch
seed = torch.manual_seed
torch.manual_seed = lambda number: seed(number + {seed})
runpy.run_path("train.py", run_name="__main__")
"""
"""nanoGPT's script as it is, with another seed than its own; it has no setting for it."""


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
