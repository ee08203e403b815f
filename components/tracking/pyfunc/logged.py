"""The logging of a bundle as an MLflow model of its run, with its figures, so that MLflow's pages show both."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.tracking.headline import figures_of
from components.tracking.pyfunc import MAX_DESCRIPTION
from components.tracking.pyfunc.saving import save_model
from serving.bundle import CARD, load_about, load_model


def log_model(client: Any, bundle: Path, *, run_id: str) -> Any:
    """Log the bundle and return MLflow's `LoggedModel`; a model that could not be written whole is marked as failed."""
    about = load_about(bundle)
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment_id, about.name, run_id, model_type=about.task)
    status = "FAILED"
    try:
        with TemporaryDirectory(prefix="modelyard-model-") as scratch:
            folder = Path(scratch) / "model"
            save_model(bundle, folder, run_id=run_id, model_id=model.model_id)
            client.log_model_artifacts(model.model_id, str(folder))
        show_model(client, model.model_id, run_id=run_id)
        log_figures(client, load_model(bundle)["metrics"], model_id=model.model_id, run_id=run_id)
        status = "READY"
    finally:
        model = client.finalize_logged_model(model.model_id, status)
    return model


def show_model(client: Any, model_id: str, *, run_id: str) -> None:
    """Record a model as an output of a run, unless it is one already, since MLflow refuses to record it twice."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs  # which a search does not give
    if model_id not in {one.model_id for one in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def log_figures(client: Any, reports: dict[str, dict[str, Any]], *, model_id: str, run_id: str) -> None:
    """Log the figures that were measured of the model, under the names that its pipeline run gives them."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    figures = figures_of(reports)
    of_model = [Metric(name, value, now, 0, model_id=model_id, run_id=run_id) for name, value in figures.items()]
    client.log_batch(run_id, metrics=of_model)


def description_of(bundle: Path) -> str:
    """Return the bundle's card, cut to MAX_DESCRIPTION characters, which is as much as MLflow's databases keep."""
    return (bundle / CARD).read_text(encoding="utf-8")[:MAX_DESCRIPTION]
