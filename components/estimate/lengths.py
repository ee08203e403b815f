"""The longest text that an encoder takes, read from its config.json, without heavy imports."""

PADDED_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""The model types that number positions from one after their padding token's id, so that the
first positions hold no text."""


def longest_text(config: dict[str, object]) -> int | None:
    """Return the most tokens that an encoder takes, special ones among them, by its config.json;
    None where it does not say."""
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(positions, int):
        return None
    if config.get("model_type") not in PADDED_POSITIONS:
        return positions
    return positions - (padding if isinstance(padding, int) else 1) - 1
