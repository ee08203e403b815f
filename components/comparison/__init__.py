"""How two versions are compared on the same rows: what the champion gate asks of a task."""
