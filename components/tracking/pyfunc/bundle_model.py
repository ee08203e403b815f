"""The model as MLflow runs it (models from code): the bundle's predictor, given rows of a table or an array.

MLflow copies this file into each model, with the package `serving` of the model's bundle beside it. So it needs nothing
else of the project, and importing it elsewhere makes no sense.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from serving.bundle import load_about, verify_bundle
from serving.tasks import endpoint_of


class BundleModel(PythonModel):
    """A model that answers as the service of the bundle does."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["bundle"])
        verify_bundle(folder)
        about = load_about(folder)
        self.answer = endpoint_of(about.task).make_answering(folder, threads=about.limits["threads"])

    # The hint is the one of which MLflow does not warn; arrays come as arrays. The signature says what is taken.
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        given: Any = model_input
        is_table = isinstance(given, pd.DataFrame)
        rows = {name: given[name].tolist() for name in given.columns} if is_table else given
        return pd.DataFrame(self.answer(rows, params or {}))


set_model(BundleModel())
