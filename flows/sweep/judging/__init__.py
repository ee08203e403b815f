"""The judging of trials: which are on the front, and whether the best is better than the present settings."""
