"""A decoder-only Transformer, of transformers' own architecture."""
