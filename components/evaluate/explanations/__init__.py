"""Explanations of a sample of the test split, and figures that say whether they may be believed."""
