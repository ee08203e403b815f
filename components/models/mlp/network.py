"""A multi-layer perceptron.

Legend: B rows of a batch, N numbers of a row, K labels.
"""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from components.models.facts import Facts
from components.params.families.mlp import MlpSettings

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


class Perceptron(nn.Module):
    """Hidden layers (linear, batch norm, activation, dropout), then a linear head."""

    def __init__(self, settings: MlpSettings, *, num_values: int, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in pairwise((num_values, *settings.hidden_sizes)):
            layers.append(nn.Linear(num_in, num_out))
            if settings.batch_norm:
                layers.append(nn.BatchNorm1d(num_out))
            layers.append(ACTIVATIONS[settings.activation]())
            if settings.dropout:
                layers.append(nn.Dropout(settings.dropout))
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(settings.hidden_sizes[-1], num_labels)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits (B, K) for the scaled numbers of the rows, (B, N)."""
        return self.head(self.hidden(values))


def build(settings: MlpSettings, facts: Facts) -> Perceptron:
    """Make a perceptron as wide as the data at both ends, with random weights."""
    return Perceptron(settings, num_values=prod(facts.shape), num_labels=facts.num_labels)
