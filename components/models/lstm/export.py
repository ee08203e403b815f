"""The LSTM one step at a time: its state goes in and comes out, so that every step costs the same.

torch.onnx exports `nn.LSTM` with weights that the graph puts together when it runs, which the quantizer does not see;
here the operator is given them in ONNX's order.

Legend: T tokens, E width of the embeddings, C width of the state, L layers, V tokens of the vocabulary.
"""

import torch
from torch import Tensor, nn

from components.models.lstm.network import Lstm
from components.models.stepping import Stepping

OPSET = 14  # of the operator LSTM


def step_of(model: nn.Module) -> Stepping:
    """Return the stepping module of an Lstm, over the model's own weights."""
    assert isinstance(model, Lstm)
    state = (model.lstm.num_layers, 1, model.lstm.hidden_size)
    return Stepping(
        module=LstmStep(model).eval(),
        inputs={
            "input_ids": torch.ones((1, 4), dtype=torch.int64),
            "state_hidden": torch.zeros(state),
            "state_cell": torch.zeros(state),
        },
        outputs=["logits", "next_state_hidden", "next_state_cell"],
    )


class LstmStep(nn.Module):
    """One step of the model: in torch by its own `step`, in an export by ONNX's operators."""

    def __init__(self, model: Lstm) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(OnnxLayer(model.lstm, layer) for layer in range(model.lstm.num_layers))
        # A copy the other way round, as in the gpt family.
        self.register_buffer("output", model.embedding.weight.detach().T.contiguous(), persistent=False)

    def forward(self, input_ids: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (1, T, V), and the hidden and the cell state after, (L, 1, C) each.

        Takes token ids (1, T), and the hidden and the cell state before, (L, 1, C) each.
        """
        if not torch.compiler.is_exporting():
            logits, state = self.model.step(input_ids, (hidden, cell))
            return logits, *state
        inputs = self.model.embedding(input_ids).transpose(0, 1)  # (T, 1, E)
        ends: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(self.layers):
            inputs, *end = layer(inputs, hidden[number : number + 1], cell[number : number + 1])  # (T, 1, C)
            ends.append((end[0], end[1]))
        logits = self.model.projection(inputs.transpose(0, 1)) @ self.output + self.model.bias
        return logits, torch.cat([end for end, _ in ends]), torch.cat([end for _, end in ends])


class OnnxLayer(nn.Module):
    """One layer as ONNX's operator LSTM, whose outputs have meaning in an export only."""

    W: Tensor
    R: Tensor
    B: Tensor

    def __init__(self, lstm: nn.LSTM, layer: int) -> None:
        super().__init__()
        self.width = lstm.hidden_size
        weights = {name: getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        parts = {name: onnx_order(weight.detach()) for name, weight in weights.items()}
        self.register_buffer("W", parts["weight_ih"][None], persistent=False)  # (1, 4C, E)
        self.register_buffer("R", parts["weight_hh"][None], persistent=False)  # (1, 4C, C)
        self.register_buffer("B", torch.cat([parts["bias_ih"], parts["bias_hh"]])[None], persistent=False)  # (1, 8C)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs (T, 1, C), and the hidden and the cell state after, (1, 1, C) each.

        Takes inputs (T, 1, E) in the first layer and (T, 1, C) above it, and the hidden and the cell state before.
        """
        outputs, hidden, cell = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (inputs, self.W, self.R, self.B, None, hidden, cell),
            {"hidden_size": self.width},
            dtypes=(torch.float32, torch.float32, torch.float32),
            shapes=((inputs.shape[0], 1, 1, self.width), (1, 1, self.width), (1, 1, self.width)),
            version=OPSET,
        )
        return outputs[:, 0], hidden, cell


def onnx_order(weight: Tensor) -> Tensor:
    """Reorder the gates' rows from torch (input, forget, cell, output) to ONNX (input, output, forget, cell)."""
    gate = weight.chunk(4)
    return torch.cat([gate[0], gate[3], gate[1], gate[2]])
