"""The loading of a bundle's model and the answers it gives, shared by all tasks: what is measured is what is served."""

MAX_SEED = 2**53 - 1
"""The largest seed of a request: every reader of JSON agrees on integers up to 2^53 - 1 (RFC 8259, section 6)."""
