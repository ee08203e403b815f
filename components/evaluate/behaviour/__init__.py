"""Checks of what a classifier of texts does where texts are changed, or are plain (Ribeiro et al. 2020)."""
