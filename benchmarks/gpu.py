# ruff: noqa: E402
"""What the training engine does on one GPU, in at most 6 minutes.

    python benchmarks/gpu.py [--out gpu.json] [--budget-s 360]
    python benchmarks/gpu.py --device cpu --small

It needs torch, transformers, accelerate, safetensors, numpy and pydantic, and a checkout of the project that need not
be installed. Of each family it measures, on made-up rows:

- the error of a step's gradients against the same step in float64 on the CPU: in fp32 there and on the device, and in
  bf16 on the device;
- whether a training that is stopped and carried on ends with the weights of one that was not, bit for bit;
- rows or tokens a second in the training loop as it is, in bf16, and which share of the card's rate of large bf16
  products that is, by the operations that components/estimate counts;
- the most memory that torch allocated, beside what the estimate said before.

A language model of width 1024 is there twice: as it is, and compiled. Each part has a time limit, and what it found
is in the JSON of `--out` even if a later part fails. Exits with 0 where everything holds, 1 where it does not, and 2
where there is no GPU. `--small` takes sizes of which nothing can be said about speed, to try the script itself.
"""

import argparse
import faulthandler
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.estimate.rows import SPECIAL, Counts, write_predictor
from components.estimate.training import one_step
from components.fitting import Begun, Training, begin
from components.models.facts import Facts
from components.models.storage import build
from components.objectives import OBJECTIVES, objective_of
from components.params import PretrainFromData, TrainFromLabels
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.objective import Data
from components.training.precision import Precision, matrix_rate
from components.training.seats import own
from components.training.splits import Lists, Split, write_split

Section = PretrainFromData | TrainFromLabels
CPU = torch.device("cpu")
MAX_ERROR = 1e-4
"""The largest relative error of a gradient in fp32."""
SHARE_OF_RATE = 0.5
"""The share of the card's bf16 rate that is asked of the language model."""
NUM_WARMING = 5
"""The steps of a training that are not timed."""
LIMITS_S = {"rates": 20.0, "correctness": 60.0, "resume": 60.0, "speed": 50.0}
"""The most seconds of a part; of `speed` for each family."""


@dataclass(frozen=True)
class Case:
    """A training of one family on made-up rows."""

    task: str
    facts: Facts
    model: Mapping[str, Any]
    batch_size: int
    objective: Mapping[str, Any] | None = None
    """The section of that name; None for a classifier."""
    is_compiled: bool = False

    def params(self, **changes: Any) -> Section:
        """Return the section of params.yaml."""
        section: dict[str, Any] = COMMON | {"batch_size": self.batch_size, "model": dict(self.model)}
        if self.objective is None:
            section |= {"augment": None, "class_weights": "none"}
            return TrainFromLabels.model_validate_json(json.dumps(section | changes))
        return PretrainFromData.model_validate_json(json.dumps(section | {"objective": self.objective} | changes))


ADAMW = {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01, "betas": [0.9, 0.99]}
COMMON: dict[str, Any] = {
    "mode": "train", "source": None, "seed": 0, "epochs": 1, "steps_per_epoch": 3, "precision": "fp32",
    "optimizer": ADAMW, "schedule": {"name": "constant", "warmup_share": 0.0},
    "clip": {"by": "norm", "limit": 1.0}, "early_stopping": None,
}  # fmt: skip
MASKED = {"name": "masked", "share": 0.15, "mean_span": 1.0}
ADVERSARIAL = {
    "name": "adversarial", "label_smoothing": 0.1, "discriminator": ADAMW, "max_shift": 1, "averaging": 0.9,
}  # fmt: skip

SMALL: dict[str, Case] = {
    "gpt": Case(
        "text_generation", Facts(vocab_size=300, context=32),
        {"family": "gpt", "hidden_size": 64, "num_layers": 2, "num_heads": 2, "dropout": 0.0},
        batch_size=4, objective={"name": "causal"},
    ),
    "encoder": Case(
        "text_classification", Facts(num_labels=2, vocab_size=300, context=32),
        {"family": "encoder", "hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 128,
         "dropout": 0.0},
        batch_size=4, objective=MASKED,
    ),
    "lstm": Case(
        "text_generation", Facts(vocab_size=300, context=32),
        {"family": "lstm", "embedding_size": 32, "hidden_size": 64, "num_layers": 2, "dropout": 0.0},
        batch_size=4, objective={"name": "causal"},
    ),
    "mlp": Case(
        "array_classification", Facts(num_labels=10, shape=(50,)),
        {"family": "mlp", "hidden_sizes": [64, 32], "activation": "relu", "batch_norm": True, "dropout": 0.0},
        batch_size=16,
    ),
    "gan": Case(
        "image_generation", Facts(num_labels=10, shape=(8, 8)),
        {"family": "gan", "latent_size": 16, "generator_sizes": [32, 64], "discriminator_sizes": [64, 32],
         "batch_norm": True, "dropout": 0.0},
        batch_size=16, objective=ADVERSARIAL,
    ),
}  # fmt: skip
GPT = Case(
    "text_generation", Facts(vocab_size=16384, context=1024),
    {"family": "gpt", "hidden_size": 1024, "num_layers": 8, "num_heads": 16, "dropout": 0.0},
    batch_size=16, objective={"name": "causal"},
)  # fmt: skip
LARGE: dict[str, Case] = {
    "gpt": GPT,
    "gpt, compiled": replace(GPT, is_compiled=True),
    "encoder": Case(
        "text_classification", Facts(num_labels=2, vocab_size=30522, context=128),
        {"family": "encoder", "hidden_size": 384, "num_layers": 6, "num_heads": 12, "intermediate_size": 1536,
         "dropout": 0.0},
        batch_size=256, objective=MASKED,
    ),
    "lstm": Case(
        "text_generation", Facts(vocab_size=4096, context=128),
        {"family": "lstm", "embedding_size": 512, "hidden_size": 1024, "num_layers": 2, "dropout": 0.0},
        batch_size=128, objective={"name": "causal"},
    ),
    "mlp": Case(
        "array_classification", Facts(num_labels=10, shape=(1000,)),
        {"family": "mlp", "hidden_sizes": [5000, 1000], "activation": "relu", "batch_norm": True, "dropout": 0.0},
        batch_size=4096,
    ),
    "gan": Case(
        "image_generation", Facts(num_labels=10, shape=(28, 28)),
        {"family": "gan", "latent_size": 64, "generator_sizes": [256, 512], "discriminator_sizes": [512, 256],
         "batch_norm": True, "dropout": 0.0},
        batch_size=1024, objective=ADVERSARIAL,
    ),
}  # fmt: skip
"""The sizes that are timed: width 1024 for the language model, else about those of the recipes."""


def made_up(case: Case, folder: Path) -> Data:
    """Write the splits of a case: rows for a few batches, with random numbers, all texts of the longest length."""
    random = np.random.default_rng(0)
    facts = case.facts
    write_predictor(folder / "predictor", case.task, facts)
    paths: list[Path] = []
    for name, count in {"train": 3 * case.batch_size, "validation": 8}.items():
        numbers: dict[str, np.ndarray] = {
            "row": np.arange(count),
            "label_id": np.arange(count) % max(1, facts.num_labels),
        }
        size = prod(facts.shape) if facts.shape else facts.context
        if facts.shape:
            flat = random.uniform(-1, 1, count * size).astype(np.float32)
        else:
            flat = random.integers(len(SPECIAL), facts.vocab_size, count * size).astype(np.int32)
            numbers["num_bytes"] = np.full(count, 4 * size)
        column = Lists(flat, np.arange(count + 1) * size)
        paths.append(folder / f"{name}.safetensors")
        write_split(paths[-1], Split(numbers, {"values" if facts.shape else "input_ids": column}))
    return Data(*paths, unlabelled=None, predictor=folder / "predictor")


def training_of(case: Case, params: Section, folder: Path) -> Training:
    network = partial(build, params.model, case.facts)
    rows, title = made_up(case, folder / f"rows-{time.monotonic_ns()}"), params.model.family
    checkpoints = folder / "checkpoints"
    return Training(params, case.facts, rows, network, stage="pretrain", title=title, checkpoints=checkpoints)


class InDoubles(TorchFunctionMode):
    """A mode in which fp32 numbers become float64 wherever they come from, as where a loss rounds logits to fp32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda t: torch.ops.aten.to.dtype(t, torch.float64) if t.dtype == torch.float32 else t,
            (args, kwargs or {}),
        )  # fmt: skip
        return func(*args, **kwargs)


def gradients(case: Case, folder: Path, *, device: torch.device, precision: Precision | None) -> Tensor:
    """Return the gradients of a first step of all players, end to end; in float64 where `precision` is None.

    The first weights and the batch are the same on every device.
    """
    torch.manual_seed(0)
    params = case.params()
    model = build(params.model, case.facts).to(device, torch.float64 if precision is None else torch.float32)
    data = made_up(case, folder)
    found: list[Tensor] = []
    with InDoubles() if precision is None else nullcontext():
        objective = OBJECTIVES[objective_of(params)]()(
            params, model=model, facts=case.facts, data=data, tracker=NullTracker(), device=device,
            precision=precision or "fp32",
        )  # fmt: skip
        trained = (objective.model or model).train()
        everything = [p for p in trained.parameters() if p.requires_grad]
        batch = next(iter(objective.batches(0, 0)))
        for player in objective.players:
            mine = [p for _, p in player.parameters]
            own(everything, mine)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = player.loss_of(trained, batch)
            found += torch.autograd.grad(loss, mine)
    return torch.cat([gradient.detach().to(CPU, torch.float64).flatten() for gradient in found])


def errors_of(case: Case, folder: Path, *, device: torch.device) -> dict[str, float]:
    """Return the relative errors of the gradients against float64 on the CPU."""
    wanted = gradients(case, folder / "float64", device=CPU, precision=None)
    ways: dict[str, tuple[torch.device, Precision]] = {
        "cpu_fp32": (CPU, "fp32"), "device_fp32": (device, "fp32"), "device_bf16": (device, "bf16"),
    }  # fmt: skip
    return {
        name: float((gradients(case, folder / name, device=on, precision=precision) - wanted).norm() / wanted.norm())
        for name, (on, precision) in ways.items()
    }


class StopError(Exception):
    """Ends a training from within."""


class Stopping(NullTracker):
    """A tracker that stops a training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        if step == self.step:
            raise StopError


def resumes_exactly(case: Case, folder: Path) -> bool:
    """Return whether a training that is stopped within its second epoch ends as one that is not, bit for bit, with
    dropout where the family has it."""
    dropout = {"dropout": 0.1} if "dropout" in case.model else {}
    params = replace(case, model={**case.model, **dropout}).params(epochs=2)
    ends = [weights(case, params, folder / "straight")]
    try:
        weights(case, params, folder / "stopped", tracker=Stopping(5))
        return False  # it was not stopped
    except StopError:
        ends.append(weights(case, params, folder / "stopped"))
    return all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def weights(case: Case, params: Section, folder: Path, *, tracker: NullTracker | None = None) -> dict[str, Tensor]:
    """Train, or carry on from what lies in the folder; return the weights at the end."""
    begun = begin(training_of(case, params, folder), tracker=NullTracker())
    run(begun, folder, tracker or NullTracker())
    return begun.model.state_dict()


def run(begun: Begun, folder: Path, tracker: NullTracker) -> None:
    # Without the validation split's figures and samples, which are no part of a step.
    objective = replace(begun.objective, validate=lambda model: {"validation_loss": 0.0})
    train(begun.model, begun.plan, objective, checkpoints=folder / "checkpoints", tracker=tracker, title="gpu")


class Rates(NullTracker):
    """A tracker that keeps the units a second of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.seen += [value for name, value in values.items() if name.endswith("s_per_s")]


def speed_of(case: Case, folder: Path, *, device: torch.device, rate: float, num_steps: int) -> dict[str, Any]:
    """Return the units a second in the training loop, their share of the device's rate, and the memory."""
    precision: Precision = "bf16" if device.type == "cuda" else "fp32"
    params = case.params(precision=precision, steps_per_epoch=num_steps)
    before = allocated(device)
    training = training_of(case, params, folder)
    begun = begin(training, tracker=NullTracker())
    if case.is_compiled:
        begun.model.compile()
    tracker = Rates()
    run(begun, folder, tracker)
    per_s = statistics.median(tracker.seen[NUM_WARMING:] or tracker.seen)
    counts = Counts(3 * case.batch_size, 8, 0, case.facts.context)
    with one_step(
        params, case.facts, counts, network=training.network, predictor=training.data.predictor, device=device,
        precision=precision,
    ) as step:  # fmt: skip
        flops, peak_bytes = step.flops, step.trace.peak_bytes
    num_units = next(iter(begun.objective.batches(0, 0))).num_units
    return {
        "unit": begun.plan.unit,
        "num_parameters": sum(p.numel() for p in begun.model.parameters()),
        "units_per_s": per_s,
        "step_s": num_units / per_s,
        "flops_per_step": flops,
        "share_of_rate": flops * per_s / num_units / rate,
        "peak_bytes": torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None,
        "estimated_bytes": peak_bytes,
    }


def allocated(device: torch.device) -> int:
    """Return the bytes that torch has allocated on a GPU, and begin to watch for the most anew."""
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def takes_flash(folder: Path, *, device: torch.device) -> bool:
    """Return whether the language model's attention runs in its flash form; otherwise torch raises here."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        gradients(SMALL["gpt"], folder, device=device, precision="bf16")
    return True


class OverTimeError(Exception):
    """A part that took longer than it may."""


@contextmanager
def limited(seconds: float) -> Generator[None]:
    """End the block after so many seconds."""

    def stop(*_: object) -> None:
        raise OverTimeError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Session:
    """The measurements so far, within a time that they share."""

    device: torch.device
    out: Path | None
    ends: float
    """When the time is over, on the clock of time.monotonic."""
    work: Path
    found: dict[str, Any]

    def part(self, name: str, measure: Callable[[Path], Any], *, family: str = "") -> Any:
        """Measure within the part's time; what goes wrong is noted, and the next part follows."""
        where: dict[str, Any] = self.found["families"].setdefault(family, {}) if family else self.found
        started = time.monotonic()
        try:
            with limited(min(LIMITS_S[name], self.ends - started)):
                where[name] = measure(self.work / (family or "all") / name)
        except Exception as error:  # whatever it is, the other parts are worth having
            fault = f"{family or 'machine'}, {name}: {type(error).__name__}: {str(error).splitlines()[0][:300]}"
            self.found["faults"].append(fault)
        where.setdefault("seconds", {})[name] = round(time.monotonic() - started, 1)
        self.write()
        return where.get(name)

    def write(self) -> None:
        if self.out:
            self.out.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")


def machine_of(device: torch.device) -> dict[str, Any]:
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else f"CPU, {torch.get_num_threads()} threads",
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory if is_gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def measure(session: Session, *, is_small: bool) -> None:
    device = session.device
    formats: tuple[Precision, ...] = ("bf16", "fp32")
    rates: dict[str, float] | None = session.part("rates", lambda _: {
        precision: matrix_rate(precision, device=device, budget_s=1.0) for precision in formats
    })  # fmt: skip
    if device.type == "cuda":
        session.part("correctness", lambda folder: {"flash": takes_flash(folder, device=device)})
    for family, case in SMALL.items():
        session.part("correctness", partial(errors_of, case, device=device), family=family)
        session.part("resume", lambda folder, case=case: {"is_exact": resumes_exactly(case, folder)}, family=family)
    rate = (rates or {}).get("bf16" if device.type == "cuda" else "fp32", float("nan"))
    for family, case in (SMALL if is_small else LARGE).items():
        num_steps = 8 if is_small else 30
        session.part("speed", partial(speed_of, case, device=device, rate=rate, num_steps=num_steps), family=family)


def faults_of(found: Mapping[str, Any]) -> list[str]:
    """Return what does not hold, in words."""
    faults: list[str] = [*found["faults"]]
    for family, of in found["families"].items():
        error = of.get("correctness", {}).get("device_fp32", 0.0)
        if not error <= MAX_ERROR:
            faults.append(f"{family}: the gradients in fp32 are off by {error:.1e}, more than {MAX_ERROR:.0e}")
        if not of.get("resume", {}).get("is_exact", True):
            faults.append(f"{family}: a training that was stopped did not end with the same weights")
    return faults


def table_of(found: Mapping[str, Any]) -> str:
    """Return the families as lines of a Markdown table."""
    titles = (
        "family", "parameters", "error fp32 (CPU)", "error bf16", "resumes", "a second", "step", "of the rate", "peak",
        "estimated",
    )  # fmt: skip
    lines = [titles, ("---",) * len(titles)]
    for family, of in found["families"].items():
        errors, speed = of.get("correctness", {}), of.get("speed", {})
        peak = speed.get("peak_bytes")
        lines.append((
            family,
            f"{speed['num_parameters'] / 1e6:.2f} M" if speed else "-",
            f"{errors['device_fp32']:.1e} ({errors['cpu_fp32']:.1e})" if errors else "-",
            f"{errors['device_bf16']:.1e}" if errors else "-",
            ("exactly" if of["resume"]["is_exact"] else "NOT EXACTLY") if "resume" in of else "-",
            f"{speed['units_per_s']:,.0f} {speed['unit']}" if speed else "-",
            f"{speed['step_s'] * 1e3:,.1f} ms" if speed else "-",
            f"{speed['share_of_rate']:.1%}" if speed else "-",
            f"{peak / 1e9:.3f} GB" if peak else "-",
            f"{speed['estimated_bytes'] / 1e9:.3f} GB" if speed else "-",
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(found: Mapping[str, Any], *, started: float) -> None:
    """Write the section of results.md."""
    from results import Row, Section

    rows: list[Row] = []
    for family, of in found["families"].items():
        errors, speed = of.get("correctness", {}), of.get("speed", {})
        if errors:
            cpu = f"{errors['cpu_fp32']:.1e} on the CPU; {errors['device_bf16']:.1e} in bf16"
            rows.append(Row(
                f"{family}: error of a step's gradients in fp32", [errors["device_fp32"]], peer=cpu, unit="",
                at_most=MAX_ERROR,
            ))  # fmt: skip
        if "resume" in of:
            rows.append(
                Row(f"{family}: resumes exactly (1 is yes)", [float(of["resume"]["is_exact"])], unit="", at_least=1)
            )
        if speed:
            rate = f"{speed['units_per_s']:,.0f} {speed['unit']}/s, {speed['step_s'] * 1e3:,.1f} ms a step"
            asked = SHARE_OF_RATE if family.startswith("gpt") else None
            rows.append(
                Row(
                    f"{family}: share of the card's bf16 rate", [speed["share_of_rate"]], rate, unit="%", at_least=asked
                )
            )
        if speed.get("peak_bytes"):
            peaks = [f"{speed[name] / 1e9:.3f} GB" for name in ("peak_bytes", "estimated_bytes")]
            rows.append(Row(
                f"{family}: peak memory over the estimate", [speed["peak_bytes"] / speed["estimated_bytes"]], peaks[0],
                peaks[1],
            ))  # fmt: skip
    Section("gpu", began=started).record(rows, notes=found["faults"], device=found["machine"]["device"])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="What the training engine does on one GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--out", type=Path, help="the JSON file for all that was measured")
    parser.add_argument("--budget-s", type=float, default=360.0)
    asked = parser.parse_args()
    started = time.monotonic()
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        say("no GPU that torch can use is here; '--device cpu --small' tries the script itself")
        return 2
    faulthandler.dump_traceback_later(asked.budget_s, exit=True)  # where even a part's limit cannot end it
    device = torch.device(asked.device)
    with tempfile.TemporaryDirectory(prefix="modelyard-gpu-") as work:
        found: dict[str, Any] = {"machine": machine_of(device), "families": {}, "faults": []}
        session = Session(device, asked.out, started + 0.95 * asked.budget_s, Path(work), found)
        measure(session, is_small=asked.small)
        found["faults"] = faults_of(found)
        session.write()
    say(f"{found['machine']['device']}, torch {torch.__version__}, transformers {transformers.__version__}")
    say("  ".join(f"{name} {rate / 1e12:,.2f} TFLOP/s" for name, rate in (found.get("rates") or {}).items()))
    say(table_of(found))
    for fault in found["faults"]:
        say(f"FAULT  {fault}")
    if device.type == "cuda" and not asked.small:
        record(found, started=started)
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
