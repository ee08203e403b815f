"""compress for classifiers of texts: one graph, which takes token ids and their attention mask."""

import numpy as np

from components.compress.classification import ClassifierTrial, read_fitted, read_some, read_split
from components.compress.paths import Inputs
from components.models.storage import WEIGHTS, load
from components.tasks.text_classification.judging.export import export_classifier
from components.tasks.text_classification.judging.torch_predictor import float_forward, float_predictor
from serving.tasks.text_classification.predictor import (
    BATCH_SIZE,
    MODEL,
    ROUTE,
    SETTINGS,
    TOKENIZER,
    Predictor,
    load_settings,
    load_tokenizer,
)


def make_trial(inputs: Inputs) -> ClassifierTrial:
    """Return the trial of a classifier of texts."""
    model = load(inputs.model)
    settings = load_settings(inputs.predictor / SETTINGS)
    tokenizer = load_tokenizer(inputs.predictor / TOKENIZER, settings)
    forward = float_forward(model)
    fitted = read_fitted(inputs.float_results, num_labels=len(settings.labels))
    calibration = None if fitted is None else fitted.calibration
    reader = Predictor(tokenizer=tokenizer, settings=settings, forward=forward, batch_size=1, threads=1)
    return ClassifierTrial(
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_split(inputs.validation, "text"),
        test_split=read_split(inputs.test, "text"),
        float_results=inputs.float_results,
        batched=float_predictor(model, tokenizer=tokenizer, settings=settings, calibration=calibration),
        make_float_runner=lambda threads: Predictor(
            tokenizer=tokenizer,
            settings=settings,
            forward=forward,
            batch_size=1,
            threads=threads,
            calibration=calibration,
        ),
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
        load_batched=lambda folder, most: Predictor.load(folder, threads=1, batch_size=most),
        batch_size=BATCH_SIZE,
        export_graphs=lambda student: {MODEL: export_classifier(student or model)},
        feeds_of=lambda number: [
            {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
            for ids in reader.encode(read_some(inputs.train, "text", number))
        ],
        fitted=fitted,
        route=ROUTE,
        request_of=lambda text: {"texts": [text]},
    )
