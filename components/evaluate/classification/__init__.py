"""The figures of a classifier, of whatever it classifies."""
