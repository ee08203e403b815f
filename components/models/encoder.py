"""A BERT-like encoder with a classification head.

Legend: B rows of a batch, T tokens of the longest row, C width of the encoder, K labels.
"""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


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


def classifier_from_encoder(folder: Path, *, num_labels: int, dropout: float) -> EncoderClassifier:
    """A classifier with the encoder of `folder` and a new head, drawn from torch's current random state."""
    encoder = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, **_options(folder))
    return EncoderClassifier(
        encoder, hidden_size=encoder.config.hidden_size, num_labels=num_labels, dropout=dropout
    ).float()


def load_classifier(folder: Path, *, num_labels: int) -> EncoderClassifier:
    """The classifier that `save_classifier` wrote, in fp32 and ready to predict."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    encoder = AutoModel.from_config(config, trust_remote_code=False, **_options(folder))
    model = EncoderClassifier(encoder, hidden_size=config.hidden_size, num_labels=num_labels, dropout=0.0)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.float().eval()


def save_classifier(model: EncoderClassifier, folder: Path, *, encoder: Path) -> None:
    """Write config.json (as the encoder's folder has it) and model.safetensors."""
    folder.mkdir(parents=True)
    shutil.copyfile(encoder / CONFIG, folder / CONFIG)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)


def _options(folder: Path) -> dict[str, bool]:
    # BERT's own pooler would be trained by nothing: the head reads the mean of the hidden states.
    model_type = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    return {"add_pooling_layer": False} if model_type in ("bert", "roberta", "xlm-roberta", "camembert") else {}
