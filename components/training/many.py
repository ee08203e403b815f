"""The ranks of a training on several devices: data parallel (DDP) or sharded (FSDP2), over gloo or NCCL.

How the processes find each other, which device each has and how DDP is set up is accelerate's part; the shards are
torch's `fully_shard`, which accelerate leaves aside on processors.

Every rank goes through the same batches. It computes its own rows of each, and weighs its loss by the share that they
have in the batch's, so that the sum over the ranks is the step of the whole batch. What dropout draws differs from rank
to rank.
"""

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ArtifactError, InputError, ModelyardError
from components.plumbing.launched import ENDED
from components.training.batches import has_batch_norm, parts_of_batch_norm
from components.training.objective import Objective, Player
from components.training.ranks import Ranks, random_state, set_random_state

T = TypeVar("T")

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By device, what the processes speak through; what is no tensor of the GPU goes over gloo there, too."""
LONGEST_WAIT = timedelta(hours=24)
"""The longest that a rank waits for another, which may fetch weights or write a checkpoint meanwhile; of one that has
ended it is told at once."""
FAILED = "failed"
"""The key under which the store that all ranks share has the first failure."""
NOTE_WAIT_S = 3.0
"""The seconds that a rank waits for the note of another that may be the reason for its own failure."""
POLL_S = 0.05
CARRIES_ON = "run the same command again, and training carries on from its last checkpoint"


class Many(Ranks):
    """The ranks of a training on several devices, as this process sees them."""

    def __init__(
        self, store: c10d.Store, rank: int, size: int, *, local_size: int, parallel: str, folder: Path | None
    ) -> None:
        """Join the process group, which begins once all of its `size` ranks are there.

        `store` is what they meet at, and `folder` where their launcher leaves a note; None where it leaves none.
        """
        has_gpu = torch.cuda.is_available()
        backend = BACKENDS["cuda" if has_gpu else "cpu"]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else accelerate chooses, and warns
        PartialState(cpu=not has_gpu)  # which gives this process its GPU
        self.rank, self.size, self.local_size, self.parallel = rank, size, local_size, parallel
        self.store, self.folder = c10d.PrefixStore("modelyard", store), folder
        self._device = torch.device("cuda", torch.cuda.current_device()) if has_gpu else torch.device("cpu")
        self._plain: nn.Module | None = None

    @property
    def is_sharded(self) -> bool:
        return self.parallel == "fsdp"

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def birthplace(self) -> torch.device:
        # A model that is to be sharded may be too large for one device; each layer goes there once it is cut.
        return torch.device("cpu") if self.is_sharded else self._device

    def spread(self, model: nn.Module, objective: Objective) -> Objective:
        check_can_be_divided(model, objective, is_sharded=self.is_sharded)
        with torch.no_grad():
            for value in model.state_dict().values():
                dist.broadcast(value, 0)
        if self.rank:
            torch.manual_seed(torch.initial_seed() + self.rank)
        return self._sharded(model, objective) if self.is_sharded else self._copied(model, objective)

    def _copied(self, model: nn.Module, objective: Objective) -> Objective:
        """Have DDP take the mean of the ranks' gradients, for each player's own parameters."""
        settings = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        # The precision is the recipe's, whatever accelerate launch was told.
        accelerator = Accelerator(
            cpu=self._device.type == "cpu", mixed_precision="no", dynamo_backend="no", kwargs_handlers=[settings]
        )
        trained = [p for p in model.parameters() if p.requires_grad]
        players: list[Player] = []
        for player in objective.players:
            own = {id(p) for _, p in player.parameters}
            for parameter in trained:  # DDP joins those that have gradients when it is made
                parameter.requires_grad_(id(parameter) in own)
            module = accelerator.prepare_model(Loss(model, player))
            players.append(self._player(player, loss_of=partial(loss_in_parallel, module)))
        for parameter in trained:
            parameter.requires_grad_(True)
        return replace(objective, players=players)

    def _sharded(self, model: nn.Module, objective: Objective) -> Objective:
        """Cut the parameters among the ranks, layer by layer; each is put together where it is at work."""
        names = {id(p): name for name, p in model.named_parameters()}
        if self.is_first:
            self._plain = without_numbers(model)
        mesh = init_device_mesh(self._device.type, (self.size,))
        for layer in reversed(layers_of(model)):  # those within others first
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        present = dict(model.named_parameters())
        (player,) = objective.players
        parameters = [(name, present[names[id(p)]]) for name, p in player.parameters]
        cut = self._player(player, parameters=parameters, loss_of=partial(loss_of_rows, player))
        return replace(objective, players=[cut])

    def _player(self, player: Player, **changes: Any) -> "PlayerOfARank":
        return PlayerOfARank(**{**vars(player), **changes}, parts_of=partial(self.parts_of, player))

    def parts_of(self, player: Player, batch: Any, micro_batch_size: int | None) -> list[tuple["Part", float]]:
        """Return this rank's rows of a batch in parts, each with the weight of its loss: its share of the batch's, as
        many times as there are ranks, of which the mean is taken.

        Each rank has the same number of parts, since in each the ranks wait for each other; those that a rank has no
        rows for are rows of another with the weight 0.
        """
        num_rows = -(-len(batch.row) // self.size)
        ranks = player.parts(batch, num_rows)
        mine, share = ranks[self.rank] if self.rank < len(ranks) else (ranks[0][0], 0.0)
        parts = list(player.parts(mine, micro_batch_size))
        num_parts = -(-num_rows // micro_batch_size) if micro_batch_size else 1
        parts += [(parts[0][0], 0.0)] * (num_parts - len(parts))
        return [
            (Part(rows, is_last=number == num_parts), self.size * share * of)
            for number, (rows, of) in enumerate(parts, 1)
        ]

    @torch.no_grad()
    def collected(self, model: nn.Module) -> nn.Module:
        if not self.is_sharded:
            return model.cpu()
        found: dict[str, Tensor] = {}
        for name, value in model.state_dict().items():
            whole = self.whole(value)
            if self._plain is not None:
                found[name] = whole.cpu()
        if self._plain is None:
            return model
        self._plain.load_state_dict(found)
        return self._plain

    def total(self, loss: Tensor) -> Tensor:
        dist.all_reduce(loss)
        return loss / self.size

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def laid_out(self, value: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return value
        return distribute_tensor(value.to(self._device), like.device_mesh, like.placements, src_data_rank=None)

    def first_does(self, work: Callable[[], T]) -> T:
        data = as_bytes(work()) if self.is_first else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0)
        if not self.is_first:
            data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return from_bytes(data)

    def from_first(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        told = self.first_does(lambda: [
            (name, str(value.dtype).removeprefix("torch."), list(value.shape)) for name, value in tensors.items()
        ])  # fmt: skip
        for name, dtype, shape in told:
            value = tensors[name].contiguous() if self.is_first else torch.empty(shape, dtype=getattr(torch, dtype))
            dist.broadcast(value, 0)
            yield name, value

    def random_states(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, value in random_state().items():
            gathered = [torch.empty_like(value) for _ in range(self.size)] if self.is_first else None
            dist.gather(value, gathered, 0)
            found |= {f"{name}.{rank}": of for rank, of in enumerate(gathered or []) if rank}
        return found

    def restore_random(self, states: Mapping[str, Tensor], *, step: int) -> None:
        if self.is_first:
            set_random_state(states)
        elif f"cpu.{self.rank}" in states:
            set_random_state({name: states[of] for name in ("cpu", "cuda") if (of := f"{name}.{self.rank}") in states})
        else:  # of fewer ranks
            torch.manual_seed(torch.initial_seed() + self.size * step + self.rank)

    def failed(self, error: BaseException) -> ModelyardError | None:
        if isinstance(error, RuntimeError):  # as both gloo's and NCCL's are, where another rank is gone
            found = self.failure()
            if found or is_of_another(error):
                told = found or f"another of the {self.size} ranks has ended; its own lines, or its launcher's, say why"
                return ModelyardError(f"{told}; {CARRIES_ON}")
        told = str(error) if isinstance(error, ModelyardError) else f"{type(error).__name__}: {error}"
        note_failure(self.store, f"rank {self.rank} of {self.size}: {told}")
        return None

    def failure(self) -> str | None:
        """Return what another rank said as it failed, or how it ended, which may take a moment; None where none did."""
        give_up_at = time.monotonic() + NOTE_WAIT_S
        while time.monotonic() < give_up_at:
            with suppress(RuntimeError, dist.DistError):  # where the store is gone with the process that had it
                if self.store.check([FAILED]):
                    return self.store.get(FAILED).decode()
            time.sleep(POLL_S)
        with suppress(ArtifactError):
            return str(read_json(self.folder / ENDED)) if self.folder else None
        return None

    def leave(self) -> None:
        PartialState._reset_state()  # pyright: ignore[reportPrivateUsage]  # accelerate's own way, in its tests
        dist.destroy_process_group()


@dataclass(frozen=True, kw_only=True)
class PlayerOfARank(Player):
    """A player on one of several ranks, which takes its step on this rank's rows of a batch."""

    parts_of: Callable[[Any, int | None], Sequence[tuple["Part", float]]]

    def parts(self, batch: Any, micro_batch_size: int | None) -> Sequence[tuple["Part", float]]:
        return self.parts_of(batch, micro_batch_size)


@dataclass(frozen=True)
class Part:
    """Rows that a rank computes at once."""

    rows: Any
    """A batch, or a part of one."""
    is_last: bool
    """Whether the step's gradients are complete with it, and go to the other ranks."""


class Loss(nn.Module):
    """A player's loss as a module, as DDP wants it."""

    def __init__(self, model: nn.Module, player: Player) -> None:
        super().__init__()
        self.model = model
        self._player = player

    def forward(self, rows: Any) -> Tensor:
        return self._player.loss_of(self.model, rows)


def loss_in_parallel(module: Any, model: nn.Module, part: Part) -> Tensor:
    """Return the loss of a part; its gradients, with those of the parts before it, go to the other ranks after the
    last."""
    del model  # in the module
    module.require_backward_grad_sync = part.is_last
    return module(part.rows)


def loss_of_rows(player: Player, model: nn.Module, part: Part) -> Tensor:
    """Return the loss of a part; its gradients are added up in shards, since whole ones would take as much memory as
    the whole model."""
    return player.loss_of(model, part.rows)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model, those of its lists, which are put together one at a time."""
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    return [layer for layers in lists for layer in layers if next(layer.parameters(), None) is not None]


def without_numbers(model: nn.Module) -> nn.Module:
    """Return a copy of a model on the CPU whose parameters have no values yet, and take memory only as they get
    some."""
    empty = {
        id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def check_can_be_divided(model: nn.Module, objective: Objective, *, is_sharded: bool) -> None:
    """Raise InputError where a step of several ranks would not be that of the whole batch, or cannot be sharded."""
    if has_batch_norm(model):
        raise parts_of_batch_norm("several devices", "set devices to 1")
    if any(isinstance(part, nn.Embedding) and part.sparse for part in model.modules()):
        raise InputError("sparse_embeddings is for one device: leave it out, or set devices to 1")
    if is_sharded and len(objective.players) > 1:
        names = " and ".join(player.name for player in objective.players)
        raise InputError(
            f"devices.parallel is 'fsdp', which shards a model with one loss, not with those of {names}; set it to "
            "'ddp'"
        )


def is_of_another(error: RuntimeError) -> bool:
    """Return whether an error is that of a connection to a rank that is gone."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl"))


def in_folder(folder: Path, size: int) -> c10d.Store:
    """Return where the `size` ranks of one machine meet: in a file."""
    return dist.FileStore(  # pyright: ignore[reportPrivateImportUsage]
        str(folder / "store"), size
    )


def at_address() -> c10d.Store:
    """Return where the ranks of a launcher meet: at the address in the environment. Raise a RuntimeError of torch's
    where the first one cannot listen there."""
    store, *_ = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
    return store


def note_failure(store: c10d.Store, message: str) -> None:
    """Tell the ranks of a failure, unless they were told of one before."""
    try:
        store.compare_set(FAILED, "", message)
    except (RuntimeError, dist.DistError):  # the store is gone with the process that had it
        return


def as_bytes(value: Any) -> Tensor:
    """Return JSON as a tensor of bytes."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def from_bytes(tensor: Tensor) -> Any:
    return json.loads(tensor.numpy().tobytes())
