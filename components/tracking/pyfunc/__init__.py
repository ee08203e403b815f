"""A bundle as an MLflow model, which `mlflow.pyfunc.load_model` loads and `mlflow models serve` serves."""

BUNDLE = "artifacts/bundle"
"""The path of the bundle in the model's folder, byte for byte as it was packaged."""
MAX_DESCRIPTION = 5000
"""The most characters of a description that MLflow's databases keep."""
