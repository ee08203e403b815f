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
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from gpu_cases import LARGE, SMALL, Case, Section, made_up, training_of
from gpu_writing import faults_of, record, table_of

from components.estimate.rows import Counts
from components.estimate.training import one_step
from components.fitting import Begun, begin
from components.models.storage import build
from components.objectives import OBJECTIVES, objective_of
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.optimizers import build_optimizer
from components.training.precision import Precision, matrix_rate
from components.training.seats import own

CPU = torch.device("cpu")
NUM_WARMING = 5
"""The steps of a training that are not timed."""
LIMITS_S = {"rates": 20.0, "correctness": 60.0, "resume": 60.0, "speed": 50.0}
"""The most seconds of a part; of `speed` for each family."""


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
    both = zip(begun.plan.optimizers, objective.players, strict=True)
    train(
        begun.model, begun.plan, objective, [build_optimizer(settings, player.parameters) for settings, player in both],
        checkpoints=folder / "checkpoints", tracker=tracker, title="gpu",
    )  # fmt: skip


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
