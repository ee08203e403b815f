"""Adam's step on the rows of an embedding table that a batch reads, as in torch's SparseAdam.

A table of a large vocabulary is half of a small encoder, and a batch reads a few hundred of its rows. With `sparse` a
torch Embedding gives the gradient of those alone; the other rows, their running means and their decay then rest until a
batch reads them, which is another optimizer than one that moves every row at each step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


def read_by_rows(table: nn.Embedding) -> None:
    """Have the gradients of an embedding table hold the rows that were read, alone."""
    table.sparse = True


def read_whole(model: nn.Module) -> None:
    """Have the gradients of all embedding tables hold every row, as those of other weights do."""
    for part in model.modules():
        if isinstance(part, nn.Embedding):
            part.sparse = False


def numbers_of(gradient: Tensor) -> Tensor:
    """Return the numbers of a gradient that are not left out, which may be changed in place; a row that was read
    several times must have been added up (`add_up`)."""
    return gradient.values() if gradient.is_sparse else gradient


def add_up(parameter: nn.Parameter) -> None:
    """Add up the gradients of a row that was read several times."""
    if parameter.grad is not None and parameter.grad.is_sparse and not parameter.grad.is_coalesced():
        parameter.grad = parameter.grad.coalesce()


@torch.no_grad()
def step_on_rows(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Take the step of AdamW, or of Adam, on the tables whose gradients hold rows alone, before the optimizer takes its
    own on the others; for `register_step_pre_hook`."""
    del args, kwargs
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.is_sparse:
                add_up(parameter)
                _step(parameter, parameter.grad, group, optimizer.state[parameter], optimizer)
                parameter.grad = None


def _step(
    table: nn.Parameter, gradient: Tensor, group: dict[str, Any], state: dict[str, Any], of: torch.optim.Optimizer
) -> None:
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=table.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
    (which,) = gradient.indices()
    whole = [table, state["exp_avg"], state["exp_avg_sq"]]
    rows = [tensor.index_select(0, which) for tensor in whole]
    change = gradient.values()
    decay = group["weight_decay"]
    if decay and not isinstance(of, torch.optim.AdamW):
        change, decay = change.add(rows[0], alpha=decay), 0.0
    beta1, beta2 = group["betas"]
    adamw(
        [rows[0]], [change], [rows[1]], [rows[2]], [], [state["step"]], fused=True, amsgrad=False, beta1=beta1,
        beta2=beta2, lr=group["lr"], weight_decay=decay, eps=group["eps"], maximize=False,
    )  # fmt: skip
    for tensor, changed in zip(whole, rows, strict=True):
        tensor.index_copy_(0, which, changed)
