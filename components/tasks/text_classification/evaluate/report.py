"""evaluate for texts with labels: the figures of a classifier, beside the best of the cheap linear ones.

Legend: N rows, K labels.
"""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from tokenizers import Tokenizer

from components.evaluate.behaviour.checks import Rows, check_labels, run_checks
from components.evaluate.behaviour.report import faults_of, write_behaviour
from components.evaluate.behaviour.report import part as behaviour_part
from components.evaluate.classification.calibrated import calibrate
from components.evaluate.classification.judged import Judged, check_finite
from components.evaluate.classification.linear import Choice, best_linear_scores
from components.evaluate.classification.metrics import Scores
from components.evaluate.classification.report import Report, report_on
from components.evaluate.classification.slices import read_slices
from components.evaluate.classification.split import read_splits, read_texts
from components.evaluate.explanations.page import part as explanations_part
from components.evaluate.explanations.writing import write_explanations
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import FAMILY, load
from components.params import TextClassificationFigures
from components.plumbing.artifacts import write_json
from components.plumbing.pages import Part
from components.plumbing.progress import progress
from components.tasks.text_classification.evaluate.finding import find
from components.tasks.text_classification.judging.torch_predictor import float_predictor
from components.tracking.tracker import Tracker
from serving.tasks.text_classification.predictor import (
    SETTINGS,
    TOKENIZER,
    Predictor,
    PredictorSettings,
    load_settings,
    load_tokenizer,
)

TEXTS_A_CALL = 256  # the steps of the progress bar


def measure(params: TextClassificationFigures, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the model on the test split; return the report.

    Raise InputError where a split holds fewer than two classes or too few rows to calibrate on, or a check of behaviour
    has nothing to act on; ArtifactError where a score is not finite; and QualityError where a gate fails, or no
    threshold is as precise as wanted.
    """
    settings = load_settings(inputs.predictor / SETTINGS)
    if params.behaviour is not None:
        check_labels(params.behaviour, settings.labels)
    train, test = read_splits(inputs, settings.labels)
    train_texts, test_texts = read_texts(inputs.train), read_texts(inputs.test)

    tokenizer = load_tokenizer(inputs.predictor / TOKENIZER, settings)
    started = time.perf_counter()
    model = load(inputs.model)
    predictor = float_predictor(model, tokenizer=tokenizer, settings=settings)
    scores = predict(predictor, test_texts)
    tracker.log_metrics({"rows_per_s": len(test_texts) / (time.perf_counter() - started)}, step=0)
    calibrated, unreached = calibrate(
        scores, inputs.validation, lambda path: predict(predictor, read_texts(path)), labels=settings.labels,
        params=params,
    )  # fmt: skip
    if calibrated is not None:
        scores = calibrated.after
        predictor = float_predictor(model, tokenizer=tokenizer, settings=settings, calibration=calibrated.calibration)
    behaviour, broken = behaviour_of(predictor, Rows(test.row, test_texts, scores), params, outputs)
    baseline, choice = best_linear_scores(
        test_texts,
        train=train_texts,
        train_labels=train.label_id,
        num_classes=len(settings.labels),
        metric=params.gate.metric,
        settings=params.baseline,
    )
    write_json(outputs.results / "baseline.json", choice.table())
    judged = Judged(
        labels=settings.labels,
        row=test.row,
        texts=test_texts,
        actual=test.label_id,
        scores=scores,
        baseline=baseline,
        baseline_name=choice.candidate.name,
        baseline_note=note_on(choice, params, num_train=len(train_texts)),
        control=scores_of_control(inputs, tokenizer, settings, test_texts),
        slices=read_slices(inputs.test),
        calibrated=calibrated,
    )
    parts = [
        *behaviour,
        *explanations_of(judged, params, inputs, outputs),
        *find(judged, choice, params, inputs, outputs),
    ]
    return report_on(
        judged, majority=train.most_frequent, params=params, outputs=outputs, title=inputs.recipe, parts=parts,
        more_faults=[*([unreached] if unreached else []), *broken],
    )  # fmt: skip


def behaviour_of(
    predictor: Predictor, rows: Rows, params: TextClassificationFigures, outputs: Outputs
) -> tuple[list[Part], list[str]]:
    """Run the checks of behaviour that the recipe asks for; return the part of the page and the limits that are
    broken."""
    if params.behaviour is None:
        return [], []
    found = run_checks(
        params.behaviour, rows, predict=partial(predict, predictor), labels=predictor.labels,
        confidence=params.bootstrap.confidence,
    )  # fmt: skip
    write_behaviour(outputs, found)
    return [behaviour_part(found)], faults_of(found)


def explanations_of(judged: Judged, params: TextClassificationFigures, inputs: Inputs, outputs: Outputs) -> list[Part]:
    """Explain a sample of the test split where the recipe asks for it; return the part of the page."""
    if params.explain is None:
        return []
    from components.tasks.text_classification.evaluate.explaining import explain  # which loads what exports models

    assert judged.texts is not None
    found = explain(
        params.explain, inputs, texts=judged.texts, rows=judged.row.tolist(), actual=judged.actual.tolist(),
        bootstrap=params.bootstrap,
    )  # fmt: skip
    write_explanations(found, outputs)
    return [explanations_part(found)]


def note_on(choice: Choice, params: TextClassificationFigures, *, num_train: int) -> str:
    """Say how the baseline was chosen and trained."""
    return (
        f"It is the best of {len(choice.scores)} cheap linear classifiers by {params.baseline.folds}-fold "
        f"cross-validation on {len(choice.rows):,} training rows ({params.gate.metric} {choice.score:.3f} there; "
        f"results/baseline.json has all), and was then trained on {min(num_train, params.baseline.max_rows):,} rows."
    )


def scores_of_control(
    inputs: Inputs, tokenizer: Tokenizer, settings: PredictorSettings, texts: Sequence[str]
) -> Scores | None:
    """Return the scores of the same model without pretraining, (N, K); None where finetune trained none."""
    if not (inputs.control / FAMILY).is_file():
        return None
    return predict(float_predictor(load(inputs.control), tokenizer=tokenizer, settings=settings), texts)


def predict(predictor: Predictor, texts: Sequence[str]) -> Scores:
    """Return the scores of each text, (N, K); texts of like lengths are predicted together.

    Raise ArtifactError where a score is not finite.
    """
    scores = np.zeros((len(texts), len(predictor.labels)), np.float32)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    with progress("evaluate", total=len(texts)) as bar:
        for start in range(0, len(order), TEXTS_A_CALL):
            chosen = order[start : start + TEXTS_A_CALL]
            scores[chosen] = predictor.predict([texts[index] for index in chosen])
            bar.update(start + len(chosen))
    check_finite(scores)
    return scores
