"""One step of a training without its numbers: what it computes, keeps and holds, of any model and objective.

The model and the batch are fake tensors: meta tensors, which have shapes and no memory, that say which device they
stand for. The step runs on them as it would run in earnest (autocast, fused attention and the optimizer choose as they
do on that device), and everything that torch dispatches is seen on its way:

- the floating-point operations of matrix products, by torch.utils.flop_counter's formulas;
- the tensors that autograd keeps for the backward pass, by torch.autograd.graph.saved_tensors_hooks;
- every tensor's memory from its birth to its end, and so the peak of the step;
- each operation with the shapes, strides and formats of its operands, which `replay` can then time.
"""

import copy
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from components.params import Clip, Optimizer
from components.training.objective import Objective, Player
from components.training.optimizers import build_optimizer, clip_gradients
from components.training.precision import Precision
from components.training.rows import read_whole

Phase = Literal["forward", "backward", "update"]


@dataclass(frozen=True)
class Operand:
    """A tensor as an operation sees it."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """The bytes of its own numbers, each counted once however often a stride of 0 shows it."""
        count = 1
        for size, stride in zip(self.shape, self.stride, strict=True):
            count *= size if stride else 1
        return count * self.dtype.itemsize


@dataclass(frozen=True)
class Operation:
    """One call of a torch kernel, with operands in place of tensors; equal calls are equal."""

    kernel: Any = field(hash=False)
    name: str
    leaves: tuple[Any, ...]
    structure: str
    """The way in which the leaves make up the arguments, as torch's pytree writes it."""
    arguments: Any = field(compare=False)
    flops: int = field(compare=False)
    num_bytes: int = field(compare=False)
    """The bytes that the call reads and writes."""


@dataclass(frozen=True)
class Trace:
    """The operations and the memory of one step; of several players, all of their turns."""

    operations: dict[Phase, Counter[Operation]]
    """By phase, how often each operation runs; a broken number where one part stands for several of unlike sizes."""
    flops: dict[Phase, int]
    activation_bytes: int
    """The bytes that autograd keeps for the backward pass; of several players, the most."""
    peak_bytes: int
    """The most bytes that are held at once: weights, gradients, optimizer state, activations and what is in between."""
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    step_bytes: int
    """The most bytes that are held at once in a forward or backward pass beyond weights, gradients and optimizer state:
    activations and what is in between, which grow with the batch."""


def enlarged(trace: Trace, times: float, *, half: Trace) -> Trace:
    """Return the trace of a step on a batch `times` as large, extrapolated from the step and a step on half its batch.

    What does not grow with the batch stays as it is: the update, and copies of the weights in another precision.
    """

    def grown(large: int, small: int) -> int:
        return large + max(0, round(2 * (large - small) * (times - 1)))

    counts = {"forward": ceil(times), "backward": ceil(times), "update": 1}
    activation_bytes = grown(trace.activation_bytes, half.activation_bytes)
    step_bytes = max(grown(trace.step_bytes, half.step_bytes), activation_bytes)
    resident = trace.weight_bytes + trace.gradient_bytes + trace.optimizer_bytes
    return replace(
        trace,
        operations={
            phase: Counter({operation: count * counts[phase] for operation, count in operations.items()})
            for phase, operations in trace.operations.items()
        },
        flops={phase: grown(flops, half.flops[phase]) for phase, flops in trace.flops.items()},
        activation_bytes=activation_bytes,
        peak_bytes=max(trace.peak_bytes, resident + step_bytes),
        step_bytes=step_bytes,
    )


def fake_mode() -> FakeTensorMode:
    """Return the mode in which tensors have no numbers; a real tensor that takes part counts as one of its shape."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def made_in(mode: FakeTensorMode, device: torch.device) -> Generator[None]:
    """Make modules without numbers in this block.

    torch cannot yet move a module of fake tensors (it swaps each, which their weak references forbid), not even to
    where it is; so a move that changes nothing is left out here.
    """
    move = nn.Module._apply  # pyright: ignore[reportPrivateUsage]

    def move_what_is_elsewhere(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        with torch.no_grad():
            is_there = all(fn(tensor) is tensor for tensor in (*self.parameters(), *self.buffers()))
        return self if is_there else move(self, fn, recurse)

    nn.Module._apply = move_what_is_elsewhere  # pyright: ignore[reportPrivateUsage]
    try:
        with mode, device, FakeCopyMode(mode):
            yield
    finally:
        nn.Module._apply = move  # pyright: ignore[reportPrivateUsage]


def without_numbers(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a copy of a model that takes no memory."""
    with FakeCopyMode(mode):
        return copy.deepcopy(model)


def trace_step(
    model: nn.Module,
    objective: Objective,
    optimizers: Sequence[Optimizer],
    *,
    batch: object,
    clip: Clip | None,
    precision: Precision,
    mode: FakeTensorMode,
    is_whole: bool = False,
    micro_batch_size: int | None = None,
) -> Trace:
    """Trace a step of `objective` on `batch`; `model` is one of `mode`, or a real one, which is left as it is.

    `optimizers` are the settings of the players' optimizers, in their order.
    The traced step is not the first, in which an optimizer makes its state. `is_whole` says that no row is padded. Of a
    batch in parts the largest is traced, beside the gradients of the others, and stands for all of them.
    """
    trained = objective.model or model
    fake = trained if any(p.fake_mode is mode for p in fakes(trained)) else without_numbers(trained, mode)
    read_whole(fake)  # whose gradients have a size that no number decides
    own = dict(zip(map(id, trained.parameters()), fake.parameters(), strict=True))
    wanted = {id(p): p.requires_grad for p in trained.parameters()}
    fake.train()
    turns = [
        Turn(player, settings, own, batch, micro_batch_size)
        for player, settings in zip(objective.players, optimizers, strict=True)
    ]
    device = next(fake.parameters()).device
    seen = Seen()
    with mode, without_mask(is_whole):
        for turn in turns:
            turn.begin()
        seen.memory = Memory(resident(fake, turns))
        for turn in turns:
            turn.step(fake, clip=clip, precision=precision, device=device, seen=seen)
    for parameter, real in zip(fake.parameters(), trained.parameters(), strict=True):
        parameter.requires_grad_(wanted[id(real)])
    return Trace(
        operations=seen.operations,
        flops=seen.flops,
        activation_bytes=seen.activation_bytes,
        peak_bytes=seen.peak_bytes,
        weight_bytes=total_bytes([*fake.parameters(), *fake.buffers()]),
        gradient_bytes=total_bytes(p.grad for p in fake.parameters() if p.grad is not None),
        optimizer_bytes=total_bytes(state for turn in turns for state in turn.states()),
        step_bytes=seen.step_bytes,
    )


@contextmanager
def without_mask(is_whole: bool) -> Generator[None]:
    """Let transformers leave out the attention mask in this block, where no row is padded: it looks at the numbers of a
    mask to see that it hides nothing, and a tensor here has none. Without one attention stays in the step's precision.
    """
    masks = sys.modules.get("transformers.masking_utils")
    name = "_ignore_bidirectional_mask_sdpa"
    if not is_whole or masks is None or not hasattr(masks, name):
        yield
        return
    before = getattr(masks, name)
    setattr(masks, name, lambda *args, **kwargs: True)
    try:
        yield
    finally:
        setattr(masks, name, before)


def fakes(model: nn.Module) -> list[Any]:
    return [p for p in model.parameters() if hasattr(p, "fake_mode")]


class Turn:
    """One player's step, as the training loop takes it."""

    def __init__(
        self, player: Player, optimizer: Optimizer, own: dict[int, nn.Parameter], batch: Any,
        micro_batch_size: int | None = None,
    ) -> None:  # fmt: skip
        # Cut here, where tensors have numbers still.
        parts = [part for part, _ in player.parts(batch, micro_batch_size)]
        self.is_divided = len(parts) > 1
        self.part = max(parts, key=lambda part: part.num_units) if self.is_divided else parts[0]
        self.times = batch.num_units / self.part.num_units if self.is_divided else 1
        self.loss_of: Callable[[nn.Module, Any], Tensor] = player.loss_of
        named = [(name, own.get(id(parameter), parameter)) for name, parameter in player.parameters]
        self.trained = [parameter for _, parameter in named if parameter.requires_grad]
        self.all = [p for p in own.values() if p.requires_grad]
        self.optimizer = build_optimizer(optimizer, named)

    def begin(self) -> None:
        """Prepare the state that a first step leaves: gradients, and the optimizer's state."""
        for parameter in self.trained:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def step(
        self, model: nn.Module, *, clip: Clip | None, precision: Precision, device: torch.device, seen: "Seen | None"
    ) -> None:
        seen = seen or Seen()
        for parameter in self.all:
            parameter.requires_grad_(any(parameter is mine for mine in self.trained))
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        if not self.is_divided:
            self.optimizer.zero_grad(set_to_none=True)
        with seen.phase("forward", times=self.times), seen.keeping(model), autocast:
            loss = self.loss_of(model, self.part) * 1.0
        with seen.phase("backward", times=self.times):
            loss.backward()
        with seen.phase("update"):
            clip_gradients(self.trained, clip)
            self.optimizer.step()

    def states(self) -> list[Tensor]:
        entries: Iterable[dict[str, Any]] = self.optimizer.state.values()
        return [value for entry in entries for value in entry.values() if isinstance(value, Tensor)]


def resident(model: nn.Module, turns: Sequence[Turn]) -> list[Tensor]:
    """Return the tensors that are held from one step to the next."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*model.parameters(), *model.buffers(), *gradients, *(state for turn in turns for state in turn.states())]


class Seen:
    """The operations and the memory that were seen of a step so far."""

    def __init__(self) -> None:
        self.operations: dict[Phase, Counter[Operation]] = {p: Counter() for p in ("forward", "backward", "update")}
        self.flops: dict[Phase, int] = dict.fromkeys(("forward", "backward", "update"), 0)
        self.activation_bytes = 0
        self.peak_bytes = 0
        self.step_bytes = 0
        """The most bytes held in a forward or backward pass, beyond what is held from one step to the next."""
        self.memory: Memory | None = None
        """The memory of the step, followed from what is held at the start; None where the step is not followed."""

    @contextmanager
    def phase(self, phase: Phase, *, times: float = 1) -> Generator[None]:
        """Record the operations of a phase that are dispatched in this block, which a step runs so many times."""
        if self.memory is None:
            yield
            return
        self.memory.peak = self.memory.now
        with Recorder(Counter(), self.memory) as recorder:
            yield
        for operation, count in recorder.operations.items():
            self.operations[phase][operation] += count * times  # pyright: ignore[reportArgumentType]
        self.flops[phase] += round(recorder.num_flops * times)
        self.peak_bytes = max(self.peak_bytes, self.memory.peak)
        if phase != "update":
            self.step_bytes = max(self.step_bytes, self.memory.peak - self.memory.held)

    @contextmanager
    def keeping(self, model: nn.Module) -> Generator[None]:
        """Count what autograd keeps in this block; the model's own weights are not counted,
        since they are there anyway."""
        own = {id_of(parameter) for parameter in model.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if id_of(tensor) not in own:
                kept[id_of(tensor)] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield
        self.activation_bytes = max(self.activation_bytes, sum(map(size_of, kept.values())))


class Memory:
    """The bytes of the storages that are alive, and the most that there were."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0
        self.watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in held:
            self.see(tensor)
        self.held = self.now

    def see(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = id_of(tensor)
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        self.watched[key] = weakref.ref(storage, lambda _: self.forget(key))

    def forget(self, key: int) -> None:
        self.watched.pop(key, None)
        self.now -= self.alive.pop(key, 0)


class Recorder(TorchDispatchMode):
    """A dispatch mode that notes each operation on its way to the kernel."""

    def __init__(self, operations: Counter[Operation], memory: Memory) -> None:
        super().__init__()
        self.operations, self.memory, self.num_flops = operations, memory, 0
        self.formulas = FlopCounterMode(display=False).flop_registry

    def flops_of(self, func: Any, args: Any, kwargs: Any, out: Any) -> int:
        """Return the floating-point operations of one call, where it is a product; torch has no
        formula for recurrent layers."""
        if "_rnn" in str(func):
            return recurrent_flops(func, args)
        formula = self.formulas.get(func.overloadpacket)
        return int(formula(*args, **kwargs, out_val=out)) if formula else 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        flops = self.flops_of(func, args, kwargs, out)
        self.num_flops += flops
        made = [tensor for tensor in pytree.tree_leaves(out) if isinstance(tensor, Tensor)]
        for tensor in made:
            self.memory.see(tensor)
        if func.namespace != "prim" and not is_view(func):
            leaves, structure = pytree.tree_flatten((args, kwargs))
            shown = [operand_of(leaf) for leaf in leaves]
            touched = {id(t): operand_of(t) for t in (*leaves, *made) if isinstance(t, Tensor)}
            self.operations[
                Operation(
                    kernel=func,
                    name=str(func),
                    leaves=tuple(map(hashable, shown)),
                    structure=str(structure),
                    arguments=pytree.tree_unflatten(shown, structure),
                    flops=flops,
                    num_bytes=sum(operand.num_bytes for operand in touched.values()),
                )
            ] += 1
        return out


def recurrent_flops(func: Any, args: Any) -> int:
    """Return the floating-point operations of a recurrent layer in one kernel: each weight takes part once a row
    and token, backward twice."""
    rows = args[0].numel() // args[0].shape[-1]
    weights = args[1] if isinstance(args[1], list | tuple) else args[1:3]  # cuDNN's list, with its biases; oneDNN's two
    weights = [weight for weight in weights if weight.ndim == 2]
    return 2 * rows * sum(w.numel() for w in weights) * (2 if "backward" in str(func) else 1)


def is_view(func: Any) -> bool:
    """Return whether a kernel only looks at its operand's memory in another way, and so costs nothing."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def operand_of(leaf: object) -> Any:
    return Operand(tuple(leaf.shape), leaf.stride(), leaf.dtype) if isinstance(leaf, Tensor) else leaf


def hashable(leaf: object) -> Any:
    """Return a leaf in a form by which two calls can be compared: 1 and 1.0 and True differ."""
    return leaf if isinstance(leaf, Operand) else f"{type(leaf).__name__} {leaf}"


def id_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def size_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the tensors' storages, each counted once (tied weights are one)."""
    return sum({id_of(tensor): size_of(tensor) for tensor in tensors}.values())
