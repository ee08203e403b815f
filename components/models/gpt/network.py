"""A decoder-only Transformer: transformers' GPT-2 (Radford et al. 2019), the output tied to the embeddings.

Legend: B rows of a batch, T tokens, C width, V tokens of the vocabulary.
"""

from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from components.models.attention import choose_attention
from components.models.facts import Facts
from components.params.families.gpt import GptSettings


class Gpt(nn.Module):
    """A GPT-2 whose weights have the names of transformers' GPT2LMHeadModel, which opens a saved one as its own."""

    architecture = "GPT2LMHeadModel"

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.transformer = GPT2Model(config)
        choose_attention(self.transformer, longest=config.n_positions)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of the token after each of `input_ids`, (B, T)."""
        hidden = self.transformer(input_ids=input_ids, use_cache=False).last_hidden_state  # (B, T, C)
        return nn.functional.linear(hidden, self.transformer.wte.weight)  # (B, T, V)


def build(settings: GptSettings, facts: Facts) -> Gpt:
    """Make a network with random weights."""
    config = GPT2Config(
        vocab_size=facts.vocab_size,
        n_positions=facts.context,
        n_embd=settings.hidden_size,
        n_layer=settings.num_layers,
        n_head=settings.num_heads,
        resid_pdrop=settings.dropout,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        # GPT-2's own approximation of GELU in one kernel; 'gelu_new' is the same in six.
        activation_function="gelu_pytorch_tanh",
        bos_token_id=facts.pad_token_id,
        eos_token_id=facts.pad_token_id,
        tie_word_embeddings=True,
    )
    return Gpt(config)
