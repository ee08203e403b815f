"""The folder that MLflow takes for a model, with the bundle, its code and their requirements."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.tracking.pyfunc.signatures import signature_of
from serving.bundle import load_about
from serving.tasks import endpoint_of

SCRIPT = Path(__file__).with_name("bundle_model.py")
NEEDED = ("mlflow", "numpy", "onnxruntime", "pandas")


def save_model(bundle: Path, folder: Path, **described: Any) -> None:
    """Write a bundle as an MLflow model into `folder`, which must not exist; `described` goes into its MLmodel file."""
    import mlflow.pyfunc
    from mlflow.models import Model

    signature, example = signature_of(bundle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas 3, and of type hints, which the signature replaces
        mlflow.pyfunc.save_model(
            folder,
            python_model=SCRIPT,
            code_paths=[str(bundle / "serving")],
            artifacts={"bundle": str(bundle)},
            signature=signature,
            input_example=example,
            pip_requirements=requirements_of(bundle),
            mlflow_model=Model(**described),
        )


def requirements_of(bundle: Path) -> list[str]:
    """Return the model's requirements, each pinned to the version that is installed here."""
    packages = endpoint_of(load_about(bundle).task).PACKAGES
    return [f"{name}=={version(name)}" for name in sorted({*NEEDED, *packages})]
