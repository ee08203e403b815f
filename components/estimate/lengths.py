"""The tokens of texts where no tokenizer is at hand, and the longest text that an encoder takes, without heavy
imports."""

DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that are written without spaces, as a class of a pattern: a token is about a character."""
WORDS = rf"[{DENSE}]|[^\s\p{{P}}\p{{S}}{DENSE}]+|[\p{{P}}\p{{S}}]"
"""What counts as a word."""
TOKENS_PER_WORD = 1.25
"""Tokenizers take rarer words apart."""
SPECIAL_TOKENS = 2
"""The tokens that a tokenizer puts around a text."""

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
