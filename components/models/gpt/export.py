"""The Transformer one step at a time, with the keys and values of earlier tokens as its state.

The state has room for the whole context from the start, and the step masks what is not filled yet. The step returns
only the new rows, so that no step copies the state, and each costs the same (`benchmarks/generation.py`).

Legend: T new tokens, P positions of the context, N layers, H heads, D width of a head, C width, V tokens of the
vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from components.models.gpt.network import Gpt
from components.models.stepping import Stepping


def step_of(model: nn.Module) -> Stepping:
    """Return the stepping module of a Gpt, over the model's own weights."""
    assert isinstance(model, Gpt)
    config = model.transformer.config
    room = (config.n_layer, config.n_head, config.n_positions, config.n_embd // config.n_head)
    return Stepping(
        module=GptStep(model).eval(),
        inputs={
            "input_ids": torch.ones((1, 4), dtype=torch.int64),
            "position": torch.ones(1, dtype=torch.int64),
            "state_keys": torch.zeros(room),
            "state_values": torch.zeros(room),
        },
        outputs=["logits", "new_state_keys", "new_state_values"],
    )


class GptStep(nn.Module):
    """The forward pass of GPT-2 in plain products, which export to half as many operators as what torch fuses."""

    output: Tensor

    def __init__(self, model: Gpt) -> None:
        super().__init__()
        self.transformer: Any = model.transformer
        config = self.transformer.config
        self.num_heads, self.context = config.n_head, config.n_positions
        # A copy the other way round: the quantizer takes a product with a matrix that lies ready, and gives each of its
        # columns a scale of its own, but has one scale for all of the embeddings.
        self.register_buffer("output", model.transformer.wte.weight.detach().T.contiguous(), persistent=False)

    def forward(
        self, input_ids: Tensor, position: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (1, T, V), and the new rows of keys and of values, (N, H, T, D) each.

        Takes token ids (1, T), the position (1,) of the first one, and the keys and values before it, (N, H, P, D)
        each.
        """
        length = input_ids.shape[1]
        steps = torch.arange(length)
        seen = (torch.arange(self.context) < position)[None].expand(length, -1)  # (T, P)
        visible = torch.cat([seen, steps[None] <= steps[:, None]], dim=1)  # (T, P + T)
        hidden = self.transformer.wte(input_ids) + self.transformer.wpe(position + steps)  # (1, T, C)
        new: list[tuple[Tensor, Tensor]] = []
        for layer, block in enumerate(self.transformer.h):
            before = keys[layer : layer + 1], values[layer : layer + 1]
            mixed, *rows = self.attend(block.attn, block.ln_1(hidden), *before, visible)
            hidden = hidden + mixed
            hidden = hidden + block.mlp(block.ln_2(hidden))
            new.append((rows[0], rows[1]))
        logits = self.transformer.ln_f(hidden) @ self.output
        return logits, torch.cat([key for key, _ in new]), torch.cat([value for _, value in new])

    def attend(
        self, attention: Any, hidden: Tensor, keys: Tensor, values: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the attention of the new tokens, (1, T, C), and their keys and values, (1, H, T, D) each.

        The new tokens attend to those before, whose keys and values are (1, H, P, D), and to themselves, where
        `visible` (T, P + T) is true.
        """
        length, width = hidden.shape[1], hidden.shape[2]
        split = attention.c_attn(hidden).view(1, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # (1, H, T, D) each
        scores = torch.cat([query @ keys.transpose(2, 3), query @ key.transpose(2, 3)], dim=-1)  # (1, H, T, P + T)
        weights = torch.where(visible, scores * attention.scaling, -torch.inf).softmax(dim=-1)
        mixed = weights[..., : self.context] @ values + weights[..., self.context :] @ value  # (1, H, T, D)
        return attention.c_proj(mixed.transpose(1, 2).reshape(1, length, width)), key, value
