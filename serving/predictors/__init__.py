"""What loads a bundle's model and answers with it, one file a task: what is measured is what is served."""

MAX_SEED = 2**53 - 1
"""Of a request: what every reader of JSON takes for the same number."""
