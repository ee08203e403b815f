"""The model as MLflow runs it (models from code): the bundle's predictor, asked by rows of a table or an array.

MLflow copies this file into each model, with the package `serving` of the model's bundle beside it. So it needs nothing
else of the project, and importing it elsewhere makes no sense.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from serving.bundle import load_about, verify_bundle
from serving.predictors import MAX_SEED

Answering = Callable[[Any, Mapping[str, Any]], pd.DataFrame]
"""Rows and parameters, as the signature has them, → one row of answers for each."""


class BundleModel(PythonModel):
    """Answers as the service of the bundle does."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["bundle"])
        verify_bundle(folder)
        about = load_about(folder)
        self.answer = ANSWERING[about.task](folder, about.limits["threads"])

    # The hint is the one of which MLflow does not warn; arrays come as arrays. The signature says what is taken.
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        return self.answer(model_input, params or {})


def classify_texts(folder: Path, threads: int) -> Answering:
    from serving.tasks.text_classification.predictor import Predictor

    predictor = Predictor.load(folder, threads=threads)
    return lambda rows, _: pd.DataFrame(predictor.answers(predictor.predict(rows["text"].tolist())))


def classify_arrays(folder: Path, threads: int) -> Answering:
    from serving.tasks.array_classification.predictor import Predictor

    predictor = Predictor.load(folder, threads=threads)
    return lambda rows, _: pd.DataFrame(predictor.answers(predictor.predict(rows)))


def generate_texts(folder: Path, threads: int) -> Answering:
    from serving.tasks.text_generation.predictor import TextGenerator

    generator = TextGenerator.load(folder, threads=threads)

    def answer(rows: Any, params: Mapping[str, Any]) -> pd.DataFrame:
        seed = params.get("seed")
        requests = [
            {**params, "prompt": prompt, "seed": SystemRandom().randint(0, MAX_SEED) if seed is None else seed}
            for prompt in rows["prompt"].tolist()
        ]
        return pd.DataFrame(generator.answers(requests))

    return answer


def sample_images(folder: Path, threads: int) -> Answering:
    from serving.tasks.image_generation.predictor import Sampler

    sampler = Sampler.load(folder, threads=threads)

    def answer(rows: Any, _: Mapping[str, Any]) -> pd.DataFrame:
        wanted = zip(rows["seed"].tolist(), rows["count"].tolist(), strict=True)
        return pd.DataFrame({"images": [sampler.sample(seed, count).tolist() for seed, count in wanted]})

    return answer


ANSWERING: dict[str, Callable[[Path, int], Answering]] = {
    "text_classification": classify_texts,
    "array_classification": classify_arrays,
    "text_generation": generate_texts,
    "image_generation": sample_images,
}

set_model(BundleModel())
