"""Runs, models and their registry in MLflow: what a stage reports, and what is kept of it."""
