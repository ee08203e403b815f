"""Models, one family a file."""
