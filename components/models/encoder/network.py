"""A BERT-like encoder of transformers, as a classifier of texts or with a head for masked language modelling.

Both are transformers' own classes, so that a saved model opens with `from_pretrained` and `pipeline`. A folder in which
weights are missing is refused, because transformers would draw them at random.

Legend: B rows of a batch, T tokens of the longest row, C width of the encoder, M hidden tokens of a batch, K labels, V
tokens of the vocabulary.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, PreTrainedModel

from components.models.attention import choose_attention
from components.models.encoder.kinds import HEAD_DROPOUT, refusal
from components.models.facts import Facts
from components.params.families.encoder import EncoderSettings
from components.plumbing.errors import ArtifactError, examples

POOLER = "pooler."
"""The prefix of the names of the pooler's weights in an encoder.

The pooler belongs to the head: it reads the first token for a task of its own, and many encoders come without one.
"""


class EncoderClassifier(nn.Module):
    """A classifier of transformers that takes tensors and returns logits."""

    def __init__(self, hosted: PreTrainedModel) -> None:
        super().__init__()
        self.hosted = hosted

    @property
    def encoder(self) -> nn.Module:
        """The part of the model below the head; in some families with the head's first layer, the pooler."""
        return getattr(self.hosted, self.hosted.base_model_prefix)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (B, K) for token ids (B, T) and their attention mask (B, T), 1 where a token is real."""
        return self.hosted(input_ids=input_ids, attention_mask=attention_mask).logits

    def with_states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits, and the states (B, T, C) after the embeddings and after each layer."""
        found = self.hosted(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return found.logits, found.hidden_states


class EncoderForMasking(nn.Module):
    """A BERT with a head for masked language modelling, whose logits are products with the token embeddings.

    The head reads only the tokens to be guessed, because their logits are most of its work.
    """

    def __init__(self, hosted: BertForMaskedLM) -> None:
        super().__init__()
        self.hosted = hosted

    @property
    def encoder(self) -> nn.Module:
        """The part of the model below the head."""
        return self.hosted.bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position: Tensor) -> Tensor:
        """Return logits (M, V) of the hidden tokens, for token ids (B, T) and their attention mask (B, T).

        `position` (M,) holds the places of the hidden tokens in the rows laid end to end.
        """
        found = self.hosted.bert(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return self.hosted.cls(found.last_hidden_state.flatten(0, 1)[position])


def build(settings: EncoderSettings, facts: Facts) -> EncoderForMasking:
    """Make an encoder with a head for masked language modelling, with random weights."""
    hosted = BertForMaskedLM(config_of(settings, facts))
    choose_attention(hosted)
    return EncoderForMasking(hosted)


def config_of(settings: EncoderSettings, facts: Facts) -> BertConfig:
    """Return the settings as a BERT configuration of transformers."""
    return BertConfig(
        vocab_size=facts.vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=facts.context,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=0.0,  # of all dropout the slowest, and the least of use in so small a model
        pad_token_id=facts.pad_token_id,
        tie_word_embeddings=True,
    )


def classifier_from_encoder(
    folder: Path, *, labels: Sequence[str], dropout: float, pretrained: bool = True
) -> EncoderClassifier:
    """Return a classifier with the encoder of `folder` and a new head.

    The head is drawn from torch's current random state. Where `pretrained` is false, so is the encoder, of which only
    the shape is taken. Raise ArtifactError where the folder lacks weights of the encoder, or where its kind is not
    supported.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not pretrained:
        return classifier_of(config, labels=labels, dropout=dropout)
    set_head(config, labels=labels, dropout=dropout)
    hosted, info = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, trust_remote_code=False, use_safetensors=True, local_files_only=True,
        dtype=torch.float32, output_loading_info=True,
    )  # fmt: skip
    check_encoder_whole(hosted, info["missing_keys"], folder)
    return covered(hosted, dropout)


def classifier_of(config: Any, *, labels: Sequence[str], dropout: float) -> EncoderClassifier:
    """Return a classifier of the shape of `config`, with all weights drawn from torch's current random state."""
    set_head(config, labels=labels, dropout=dropout)
    hosted = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False, dtype=torch.float32)
    return covered(hosted, dropout)


def from_config(folder: Path, facts: Facts) -> EncoderClassifier:
    """Return the classifier that config.json in `folder` describes, with random weights.

    Raise ArtifactError where it has another number of labels than `facts`, or where its kind is not supported.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    named: dict[Any, str] = config.id2label or {}
    if len(named) != facts.num_labels:
        raise ArtifactError(f"{folder}/config.json has {len(named)} labels, but family.json {facts.num_labels}")
    return classifier_of(config, labels=[name for _, name in sorted(named.items())], dropout=0.0)


def set_head(config: Any, *, labels: Sequence[str], dropout: float) -> None:
    """Set a classifier's labels and dropout in `config`; raise ArtifactError where its kind is not supported."""
    if wrong := refusal(config.model_type):
        raise ArtifactError(wrong)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    if name := HEAD_DROPOUT[config.model_type]:
        setattr(config, name, dropout)


def covered(hosted: PreTrainedModel, dropout: float) -> EncoderClassifier:
    """Wrap a classifier of transformers, and set the dropout of its head, whatever its config calls that."""
    model = EncoderClassifier(hosted)
    inside = set(model.encoder.modules())
    for part in hosted.modules():
        if isinstance(part, nn.Dropout) and part not in inside:
            part.p = dropout
    choose_attention(hosted)
    return model


def check_encoder_whole(hosted: PreTrainedModel, missing: Collection[str], folder: Path) -> None:
    """Raise ArtifactError where `folder` lacks weights of the encoder itself, so that transformers drew them."""
    prefix = f"{hosted.base_model_prefix}."
    lacking = sorted(name for name in missing if name.startswith(prefix) and not name.startswith(f"{prefix}{POOLER}"))
    if lacking:
        raise ArtifactError(
            f"{folder}/model.safetensors lacks {len(lacking)} weights that its config.json asks for: "
            f"{examples(lacking)}; run pretrain again (modelyard run RECIPE --force pretrain)"
        )
