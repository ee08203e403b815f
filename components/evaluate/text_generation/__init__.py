"""evaluate for language models."""
