"""A recurrent language model of long short-term memory cells (Hochreiter & Schmidhuber 1997; Zaremba et al. 2014).

Legend: B rows of a batch, T tokens, E width of the embeddings, C width of the state, L layers, V tokens of the
vocabulary.
"""

from torch import Tensor, nn

from components.models.facts import Facts
from components.params.families.lstm import LstmSettings

State = tuple[Tensor, Tensor]
"""The hidden and the cell state after the last token, (L, B, C) each."""


class Lstm(nn.Module):
    """An embedding, LSTM layers, and the embedding again for the logits (Press & Wolf 2017).

    Where the widths of the state and the embedding differ, a projection lies between them.
    """

    def __init__(self, settings: LstmSettings, *, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, settings.embedding_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(
            settings.embedding_size,
            settings.hidden_size,
            settings.num_layers,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,
            batch_first=True,
        )
        is_tied = settings.hidden_size == settings.embedding_size
        self.projection = nn.Identity() if is_tied else nn.Linear(settings.hidden_size, settings.embedding_size)
        self.bias = nn.Parameter(self.embedding.weight.new_zeros(vocab_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights.

        The embeddings are small, because they also make the output; so the first layer's weights are large. Gates
        remember at first (Jozefowicz et al. 2015), and orthogonal recurrent weights neither swell nor fade (Saxe et al.
        2014). With torch's own draw, a second layer learns nothing for hundreds of steps.
        """
        nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5)
        nn.init.zeros_(self.bias)
        width = self.lstm.hidden_size
        for layer in range(self.lstm.num_layers):
            nn.init.normal_(getattr(self.lstm, f"weight_ih_l{layer}"), std=1.0 if layer == 0 else 2 * width**-0.5)
            for gate in getattr(self.lstm, f"weight_hh_l{layer}").chunk(4):
                nn.init.orthogonal_(gate)
            nn.init.zeros_(getattr(self.lstm, f"bias_hh_l{layer}"))
            bias = getattr(self.lstm, f"bias_ih_l{layer}")
            nn.init.zeros_(bias)
            nn.init.ones_(bias[width : 2 * width])  # of the gate that forgets

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of the token after each of `input_ids`, (B, T)."""
        return self.step(input_ids, None)[0]

    def step(self, input_ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return the logits (B, T, V), and the state from which to go on; a state of None is that before any token."""
        hidden, after = self.lstm(self.dropout(self.embedding(input_ids)), state)  # (B, T, C)
        projected = self.projection(self.dropout(hidden))  # (B, T, E)
        return nn.functional.linear(projected, self.embedding.weight, self.bias), after  # (B, T, V)


def build(settings: LstmSettings, facts: Facts) -> Lstm:
    """Make a network with random weights."""
    return Lstm(settings, vocab_size=facts.vocab_size)
