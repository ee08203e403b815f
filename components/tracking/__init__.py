"""Runs, models and their registry in MLflow: what a stage tells of itself, and what is kept of it."""
