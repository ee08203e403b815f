"""What an operator asks for: serve, ui, up, status, down, keys, doctor."""
