"""The comparison of two versions on the same rows, by which the champion gate decides."""
