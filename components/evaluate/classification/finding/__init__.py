"""Findings for a person to look at: slices on which a classifier is surely worse, and labels that are likely wrong."""
