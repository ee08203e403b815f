"""MiniLM of benchmarks/training.py: our loop on movie_sentiment's rows, and transformers' Trainer in several ways."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from training_rates import kept_points, rate_of

MINILM_STEPS, MINILM_ROWS, PADDED_TO = 80, 32, 128
FEWER_STEPS = {"fp32 dynamic": 40, "fp32 padded": 20}
"""The steps of the sides that would take minutes."""


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
