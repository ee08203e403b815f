"""A BERT-like encoder: with a classification head, or with the head of masked language modelling.

Legend: B rows of a batch, T tokens of the longest row, M hidden tokens of a batch, C width of the encoder, K labels, V
tokens of the vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, PreTrainedModel

from components.models.encoder.settings import Settings
from components.models.facts import Facts


class EncoderClassifier(nn.Module):
    """Mean of the last hidden state over the real tokens, dropout, one linear layer."""

    def __init__(self, encoder: nn.Module, *, hidden_size: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, K) for token ids (B, T) and their mask (B, T), 1 where a token is real."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, T, C)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)  # (B, C)
        return self.head(self.dropout(pooled))  # (B, K)


class EncoderForMasking(nn.Module):
    """An encoder with BERT's head for masked language modelling, whose logits are products with the table of the token
    embeddings. The head sees the tokens to be guessed alone, since their logits are most of its work."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.transform = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.transform.weight, std=config.initializer_range)
        nn.init.zeros_(self.transform.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position: Tensor) -> Tensor:
        """Logits (M, V) for token ids (B, T), their mask (B, T), and the places (M,) of those to be guessed, in the
        rows laid end to end."""
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden = found.last_hidden_state.flatten(0, 1)[position]  # (M, C)
        hidden = self.norm(functional.gelu(self.transform(hidden)))
        return functional.linear(hidden, self.encoder.embeddings.word_embeddings.weight, self.bias)


def build(settings: Settings, facts: Facts) -> BertModel:
    """A new encoder, without a head."""
    config = BertConfig(
        vocab_size=facts.vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=facts.context,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=0.0,  # of all dropout the slowest, and the least of use in so small a model
        pad_token_id=facts.pad_token_id,
    )
    encoder = BertModel(config, add_pooling_layer=False)
    choose_attention(encoder)
    return encoder


def classifier_from_encoder(
    folder: Path, *, num_labels: int, dropout: float, pretrained: bool = True
) -> EncoderClassifier:
    """A classifier with the encoder of `folder` (its shape only, where not `pretrained`) and a new head, drawn from
    torch's current random state."""
    if pretrained:
        encoder: Any = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, **_options(folder)
        )
    else:
        encoder = AutoModel.from_config(
            AutoConfig.from_pretrained(folder, trust_remote_code=False), trust_remote_code=False, **_options(folder)
        )
    choose_attention(encoder)
    return EncoderClassifier(
        encoder, hidden_size=encoder.config.hidden_size, num_labels=num_labels, dropout=dropout
    ).float()


def from_config(folder: Path, facts: Facts) -> EncoderClassifier:
    """The classifier that config.json describes, of random weights."""
    return classifier_from_encoder(folder, num_labels=facts.num_labels, dropout=0.0, pretrained=False)


def choose_attention(encoder: PreTrainedModel) -> None:
    """Let the encoder take the faster way to compute attention: on a processor, over texts of a few sentences, plain
    products train a third faster than the fused ones (measured at up to 128 tokens)."""
    encoder.set_attn_implementation("sdpa" if torch.cuda.is_available() else "eager")


def _options(folder: Path) -> dict[str, bool]:
    # BERT's own pooler would be trained by nothing: the head reads the mean of the hidden states.
    model_type = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    return {"add_pooling_layer": False} if model_type in ("bert", "roberta", "xlm-roberta", "camembert") else {}
