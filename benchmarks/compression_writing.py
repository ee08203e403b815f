"""The part of benchmarks/compression.py on language models: tokens a second of writing, and bits per byte.

Each text is written by itself on both sides, from its prompt to its text, and two at once where that is faster, as the
service does it. Torch keeps its state: the keys and values in transformers' own cache, or what an LSTM gives on; or it
steps as the served model does, whichever is faster. Several texts as one batch would be faster in torch, and is noted.
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from components.compress import Inputs
from components.models.storage import load
from components.plumbing.artifacts import Layout
from components.tasks import task_of
from components.tasks.text_generation.compress import NEW_TOKENS, TextGenerationTrial
from components.tasks.text_generation.judging.stepping import TorchStep
from compression_sides import GRAPH, THREADS, WAYS_OF_CORES, shared_out
from results import Row
from serving.tasks.text_generation.predictor import Arrays, TextGenerator

MIN_SPEEDUP = 3.0
"""The least tokens a second beside torch at its best."""
MAX_WORSE = 0.01
"""The most bits per byte above those of the float model."""
Write = Callable[[Sequence[str]], int]
"""A function that writes on from some prompts, and returns the number of tokens."""


def rows_of_writing(project: Path, recipe: str, task: str, model: Path, *, rounds: int) -> tuple[list[Row], str]:
    """Measure one language model; return its rows, and a note."""
    inputs = Layout(project, recipe, "compress").inputs(Inputs)
    trial = task_of(task).compress(inputs)
    assert isinstance(trial, TextGenerationTrial)
    served = trial.load(model, threads=THREADS)
    of_torch = torch_ways(inputs, trial)
    prompts = trial.items
    rates = {words: max(tokens_per_s(write, prompts) for _ in range(2)) for words, write in of_torch.items()}
    best = max(rates, key=lambda words: rates[words])
    sides: dict[str, Write] = {
        "ours": lambda some: trial.work(served, some), best: of_torch[best], "batch": torch_batch(inputs, trial),
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        turn = number % len(sides)
        for name in [*sides][turn:] + [*sides][:turn]:
            found[name].append(tokens_per_s(sides[name], prompts))
        told = ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in found.items())
        sys.stderr.write(f"{recipe}, round {number + 1}: {told}\n")
    ratios = [a / b for a, b in zip(found["ours"], found[best], strict=True)]
    ours, its = (f"{median(found[name]):,.0f} tokens/s" for name in ("ours", best))
    size, float_size = (model / GRAPH).stat().st_size, trial.float_size_bytes
    speed = Row(
        f"{recipe}: tokens a second of writing beside torch fp32", ratios, ours, f"{its}, {best}", at_least=MIN_SPEEDUP
    )
    sizes = f"{size / 1e6:.3g} MB", f"{float_size / 1e6:.3g} MB"
    note = (
        f"{recipe}: torch that writes on from all {len(prompts)} prompts as one batch gives "
        f"{median(found['batch']):,.0f} tokens/s"
    )
    rows = [speed, *bits_of(recipe, trial, served)]
    return [*rows, Row(f"{recipe}: bytes beside the float weights", [size / float_size], *sizes)], note


def bits_of(recipe: str, trial: TextGenerationTrial, served: TextGenerator) -> list[Row]:
    """Return how many more bits per byte the served model takes, on the validation and on the test split."""
    rows: list[Row] = []
    for name, split in (("validation", trial.validation), ("test", trial.test_split)):
        size = split.num_bytes.sum()
        ours, its = (
            -sum(float(one.sum()) for one in runner.log2_probabilities(split.input_ids)) / size
            for runner in (served, trial.reader)
        )
        rows.append(Row(
            f"{recipe}: more bits per byte, {name} split", [ours / its - 1], f"{ours:.4f}", f"{its:.4f}", "%",
            at_most=MAX_WORSE,
        ))  # fmt: skip
    return rows


def tokens_per_s(write: Write, prompts: Sequence[str]) -> float:
    started = time.perf_counter()
    return write(prompts) / (time.perf_counter() - started)


# Torch.


def torch_ways(inputs: Inputs, trial: TextGenerationTrial) -> dict[str, Write]:
    """Return how torch may write, by what distinguishes the ways."""
    model, ways = load(inputs.model), dict[str, Write]()
    for calls, threads in WAYS_OF_CORES:
        pool = ThreadPoolExecutor(calls)

        def plainly(prompts: Sequence[str], pool: ThreadPoolExecutor = pool, threads: int = threads) -> int:
            return sum(pool.map(lambda prompt: written(model, trial.reader, [prompt], threads=threads), prompts))

        stepping = TextGenerator(
            tokenizer=trial.reader.tokenizer, settings=trial.reader.settings, threads=calls,
            step=OnThreads(trial, threads=threads),
        )  # fmt: skip

        def without_onednn(prompts: Sequence[str], plainly: Write = plainly) -> int:
            # oneDNN's LSTM packs its weights anew at each step, which is most of a step of one token.
            with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False):
                return plainly(prompts)

        def by_steps(prompts: Sequence[str], stepping: TextGenerator = stepping) -> int:
            return trial.work(stepping, prompts)

        named: dict[str, Write] = {"its own state": plainly, "the served steps": by_steps}
        if hasattr(model, "step"):
            named["its own state, without oneDNN"] = without_onednn
        for words, way in named.items():
            way(trial.items[:2])
            ways[f"{words}, {shared_out(calls, threads)}"] = way
    return ways


def torch_batch(inputs: Inputs, trial: TextGenerationTrial) -> Write:
    """Return how torch writes all texts as one batch, after prompts that are cut to one length."""
    model = load(inputs.model)
    return lambda prompts: written(model, trial.reader, prompts, threads=THREADS)


class OnThreads(TorchStep):
    """The served model's step in torch, on a number of torch's threads."""

    def __init__(self, trial: TextGenerationTrial, *, threads: int) -> None:
        super().__init__(trial.stepping)
        self.threads = threads

    def run(self, inputs: Arrays) -> Arrays:
        torch.set_num_threads(self.threads)  # of the calling thread, so each call says it
        return super().run(inputs)


@torch.inference_mode()
def written(model: Any, reader: TextGenerator, prompts: Sequence[str], *, threads: int) -> int:
    """Write the likeliest tokens after some prompts as one batch, and spell them; return their number."""
    torch.set_num_threads(threads)
    end = reader.settings.end_of_text_id
    rows = [[end, *reader.encode(prompt)] for prompt in prompts]
    shortest = min(map(len, rows))
    ids, state, texts = torch.tensor([row[:shortest] for row in rows]), None, list[Tensor]()
    for _ in range(NEW_TOKENS):
        logits, state = advanced(model, ids, state)
        ids = logits.argmax(dim=-1, keepdim=True)  # (B, 1)
        texts.append(ids)
        if len(rows) == 1 and int(ids) == end:
            break
    spelled = torch.cat(texts, dim=1).tolist()
    reader.tokenizer.decode_batch(spelled)
    return sum(map(len, spelled))


def advanced(model: Any, input_ids: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Return the logits (B, V) after token ids (B, T), and the state after."""
    if hasattr(model, "step"):
        logits, after = model.step(input_ids, state)
        return logits[:, -1], after
    found = model.transformer(input_ids=input_ids, past_key_values=state, use_cache=True)
    return found.last_hidden_state[:, -1] @ model.transformer.wte.weight.T, found.past_key_values
