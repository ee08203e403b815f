"""The time that the operations of a step take on this machine: each distinct one is run a few times, on its own shapes.

A rate from one big square product says little about a step, whose products are of many shapes and which spends much of
its time outside of them. So each operation of a trace is run as often as a budget of seconds allows, the costliest
first, on memory that moves on from call to call (a step, too, finds little of what it needs in the cache). An operation
too big for the budget is measured on fewer rows and scaled up; the time of those that were not run is estimated from
the rates of the others.

On a processor, time is that of the calling thread, which takes part in all that is divided among threads: so it is what
an operation takes where the machine does nothing else, however much it does now.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from statistics import mean, median

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.estimate.trace import Operand, Operation, Phase, Turn, fake_mode, trace_step
from components.params import Optimizer
from components.training.objective import Objective, Player

MAX_FLOPS = 2e10
"""The most floating-point operations in one run of a product: a tenth of a second on a slow processor. A larger
product is cut to fewer rows."""
MAX_BYTES = 1 << 30
"""The most bytes of the operands of one run; an operation with more is not run."""
POOL_BYTES = 1 << 27
"""The bytes of the memory that operands are cut from, for each number format."""
NUM_ROUNDS = 7
WAITING = 1.1
"""How many times its own time the calling thread takes with its waits for the others: of whole trainings on 2 quiet
cores, its own time was 0.86 to 0.95."""
MAX_BUDGETS = 3
"""How many times its budget the measurement may take by the clock on the wall."""
WITH_WHOLE_NUMBERS = (
    "embedding", "embedding_dense_backward", "nll_loss_forward", "nll_loss_backward", "index", "index_select", "gather",
)  # fmt: skip
"""The kernels that are safe on made-up whole numbers. Others take such numbers for places, or for memory that only
their forward can have laid out (bytes), and might end the process."""
BYTES_PER_S = 4e9
"""The bytes per second that operations are taken to move where nothing at all could be measured."""


@dataclass(frozen=True)
class Timing:
    """The measured time of a step."""

    seconds: dict[Phase, float]
    """The seconds of each phase of one step."""
    overhead_s: float
    """The seconds that calling one operation from Python through autograd adds to the operation itself."""
    flops_per_s: float
    """The floating-point operations per second of the step's matrix products, as measured."""
    measured_share: float
    """The share of the step's time that is in operations that were themselves run."""

    @property
    def step_s(self) -> float:
        return sum(self.seconds.values())

    def metrics(self) -> dict[str, float]:
        """Return the figures that say what the time is made of: the seconds of each phase, by name."""
        return {f"predicted_{phase}_s": seconds for phase, seconds in self.seconds.items()}


def time_operations(operations: Mapping[Phase, Counter[Operation]], *, device: torch.device, budget_s: float) -> Timing:
    """Measure the seconds of each phase of a step on `device`, within about `budget_s`.

    It draws nothing from torch's random state.
    """
    counts: Counter[Operation] = sum(operations.values(), Counter())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        overhead_s = call_overhead(device)
        pool = Pool(device, POOL_BYTES)
        for dtype in {leaf.dtype for op in counts for leaf in op.leaves if is_number(leaf)}:
            pool.numbers(dtype)
        times = run_rounds(counts, pool, budget_s=budget_s)
    costs = {op: times[op] if op in times else told_by_others(op, times, counts) for op in counts}
    products = [op for op in counts if op.flops and op in times]
    product_s = sum(times[op] * counts[op] for op in products)
    all_s = sum(costs[op] * n for op, n in counts.items())
    return Timing(
        seconds={
            phase: sum((costs[op] + overhead_s) * n for op, n in ops.items()) for phase, ops in operations.items()
        },
        overhead_s=overhead_s,
        flops_per_s=sum(op.flops * counts[op] for op in products) / product_s if product_s else 0.0,
        measured_share=sum(times[op] * counts[op] for op in times) / all_s if all_s else 0.0,
    )


@torch.no_grad()
def run_rounds(counts: Counter[Operation], pool: "Pool", *, budget_s: float) -> dict[Operation, float]:
    """Return the usual seconds of each operation that could be run within the budget; on a busy machine that may take
    three times as long.

    The costly ones go first, so that a short budget is spent on what matters; the first round warms up.
    """
    order = sorted(counts, key=lambda op: -(op.flops / 30 + op.num_bytes) * counts[op])
    seen: dict[Operation, list[float]] = {}
    broken: set[Operation] = set()
    over = pool.clock() + budget_s
    late = time.monotonic() + MAX_BUDGETS * budget_s
    for _ in range(1 + NUM_ROUNDS):
        for operation in order:
            if operation in broken:
                continue
            if pool.clock() > over or time.monotonic() > late:
                break
            seconds = run_once(operation, pool)
            if seconds is None:
                broken.add(operation)
            else:
                seen.setdefault(operation, []).append(seconds)
    return {operation: usual(times[1:] or times) for operation, times in seen.items()}


def usual(times: list[float]) -> float:
    """Return the mean of the shorter half of times: what an operation takes where the machine does nothing else."""
    return mean(sorted(times)[: (len(times) + 1) // 2])


def run_once(operation: Operation, pool: "Pool") -> float | None:
    """Return the seconds of one run, scaled to the whole operation; None where it cannot be run on made-up numbers."""
    scale, leaves_of = smaller(operation)
    if leaves_of.num_bytes > MAX_BYTES or not is_safe(operation, pool.device):
        return None
    try:
        args, kwargs = pytree.tree_map_only(Operand, lambda o: pool.tensor(o, operation), leaves_of.arguments)
        pool.wait()
        start = pool.clock()
        operation.kernel(*args, **kwargs)
        pool.wait()
        return (pool.clock() - start) * scale * pool.waiting
    except (RuntimeError, IndexError, NotImplementedError):  # made-up numbers are not every kernel's
        return None


def is_safe(operation: Operation, device: torch.device) -> bool:
    """Return whether running the kernel on made-up operands can do no harm.

    On a GPU a number that is no place ends all that the process does there, so there no whole number is made up.
    """
    kinds = {leaf.dtype for leaf in operation.leaves if isinstance(leaf, Operand)}
    has_whole = any(not kind.is_floating_point and kind != torch.bool for kind in kinds)
    return not has_whole or (device.type == "cpu" and kernel_of(operation) in WITH_WHOLE_NUMBERS)


def kernel_of(operation: Operation) -> str:
    """Return the kernel's name, without its library and overload."""
    return operation.name.split(".")[1]


def smaller(operation: Operation) -> tuple[float, Operation]:
    """Return how many times as large an operation is as the one to run in its place, and that one, in which a big
    matrix product is cut to fewer rows."""
    scale = operation.flops / MAX_FLOPS
    name = kernel_of(operation)
    if scale <= 1 or name not in ("mm", "addmm", "bmm"):
        return 1.0, operation
    args, kwargs = operation.arguments
    at = 1 if name == "addmm" else 0
    rows = args[at].shape[0]
    kept = max(1, int(rows / scale))
    cut = replace(args[at], shape=(kept, *args[at].shape[1:]))
    args = [*args]
    args[at] = cut
    if name == "bmm":
        args[1] = replace(args[1], shape=(kept, *args[1].shape[1:]))
    num_bytes = sum(arg.num_bytes for arg in args if isinstance(arg, Operand))
    return rows / kept, replace(operation, arguments=(tuple(args), kwargs), num_bytes=num_bytes)


class Pool:
    """The memory that operands are cut from, at a place that moves on from call to call."""

    def __init__(self, device: torch.device, num_bytes: int) -> None:
        self.device, self.num_bytes = device, num_bytes
        self.clock = clock_of(device)
        self.waiting = WAITING if device.type == "cpu" and torch.get_num_threads() > 1 else 1.0
        self.kept: dict[torch.dtype, Tensor] = {}
        self.at = 0

    def tensor(self, operand: Operand, operation: Operation) -> Tensor:
        """Return a tensor of the operand's shape, strides and format; whole numbers are small enough to be indices."""
        if not operand.dtype.is_floating_point:
            low, high = 0, 2 if operand.dtype == torch.bool else max(1, largest_index(operation))
            made = torch.randint(low, high, operand.shape, device=self.device).to(operand.dtype)
            return made
        size = 1 + sum((n - 1) * stride for n, stride in zip(operand.shape, operand.stride, strict=True))
        if 0 in operand.shape:
            size = 0
        numbers = self.numbers(operand.dtype)
        if size > len(numbers) // 2:
            return torch.empty_strided(operand.shape, operand.stride, dtype=operand.dtype, device=self.device).fill_(
                0.5
            )
        self.at = self.at + size if self.at + 2 * size <= len(numbers) else 0
        return numbers.as_strided(operand.shape, operand.stride, self.at // 16 * 16)

    def numbers(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self.kept:
            few = torch.rand(1 << 16, device=self.device).to(dtype)
            self.kept[dtype] = few.repeat(max(1, self.num_bytes // dtype.itemsize // len(few)))
        return self.kept[dtype]

    def wait(self) -> None:
        """Wait until an accelerator's queue is empty."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock that tells what an operation on the device takes."""
    return time.thread_time if device.type == "cpu" else time.perf_counter


def is_number(leaf: object) -> bool:
    """Return whether a leaf is an operand of real numbers, which the pool holds."""
    return isinstance(leaf, Operand) and leaf.dtype.is_floating_point


def largest_index(operation: Operation) -> int:
    """Return the bound below which made-up indices must lie: the number of rows of a table, or else the shortest side
    of the operands."""
    operands = [leaf for leaf in operation.leaves if isinstance(leaf, Operand) and leaf.dtype.is_floating_point]
    name = kernel_of(operation)
    if name == "embedding":
        return operands[0].shape[0]
    if name == "embedding_dense_backward":
        num_rows: int = operation.arguments[0][2]
        return num_rows
    if name.startswith("nll_loss"):
        return operands[-1 if name == "nll_loss_forward" else 1].shape[-1]
    return min((n for operand in operands for n in operand.shape if n > 1), default=1)


def told_by_others(operation: Operation, times: Mapping[Operation, float], counts: Counter[Operation]) -> float:
    """Estimate the seconds of an operation that was not run, by the rate of its forward or of the other products, or by
    its bytes."""
    if operation.flops:
        forward = kernel_of(operation).removesuffix("_backward")
        alike = [op for op in times if kernel_of(op) == forward] or [op for op in times if op.flops]
        flops = sum(op.flops * counts[op] for op in alike)
        if flops:
            return operation.flops * sum(times[op] * counts[op] for op in alike) / flops
    plain = [op for op in times if not op.flops]
    num_bytes = sum(op.num_bytes * counts[op] for op in plain)
    per_byte = sum(times[op] * counts[op] for op in plain) / num_bytes if num_bytes else 1 / BYTES_PER_S
    return operation.num_bytes * per_byte


@cache
def call_overhead(device: torch.device) -> float:
    """Measure the seconds that Python, torch.nn and autograd add to each operation of a training step.

    It is the time of a step of a network with layers of eight numbers, beyond its operations as they are timed here.
    """
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6))).to(device)
    rows = torch.zeros(8, 8, device=device)
    optimizer = Optimizer(name="adam", learning_rate=1e-3, weight_decay=0.0, betas=(0.9, 0.999))
    player = Player("", [*model.named_parameters()], lambda model, rows: model(rows).sum())
    objective = Objective([player], lambda epoch, start: [], 1, lambda model: {}, "rows")
    trace = trace_step(model, objective, [optimizer], batch=rows, clip=None, precision="fp32", mode=fake_mode())
    counts: Counter[Operation] = sum(trace.operations.values(), Counter())
    pool = Pool(device, 1 << 20)
    times = run_rounds(counts, pool, budget_s=0.2)
    turn = Turn(player, optimizer, {id(p): p for p in model.parameters()}, rows)
    seen: list[float] = []
    for _ in range(30):
        start = pool.clock()
        turn.step(model, clip=None, precision="fp32", device=device, seen=None)
        pool.wait()
        seen.append(pool.clock() - start)
    own_s = sum(times.get(operation, 0.0) * n for operation, n in counts.items())
    return max(0.0, (median(seen[5:]) - own_s) / counts.total())
