"""A bundle as an MLflow model: `mlflow.pyfunc.load_model` loads it, `mlflow models serve` serves it."""

BUNDLE = "artifacts/bundle"
"""Where the bundle lies in the model's folder, byte for byte as it was packaged."""
