"""The commands of an operator: serve, ui, up, status, down, keys, doctor."""
