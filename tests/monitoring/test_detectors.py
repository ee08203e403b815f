"""Alarms on tiny rows: hardly ever where nothing changed, each time where something did. benchmarks/drift.py does the
same on real texts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.monitoring.detectors import Finding, detect
from components.monitoring.inputs import Reference
from components.monitoring.reference import read_reference
from components.params import Effects, Limits, Monitoring, Quality
from components.plumbing.errors import InputError
from components.tasks import task_of
from serving.tasks.array_classification import predictor as array_classification
from serving.tasks.text_classification import predictor as text_classification
from tests.tiny import make_tiny_tokenizer, tiny_rows

PARAMS = Monitoring(
    window=60, min_rows=60, max_reference_rows=10000, false_alarms=0.005, num_permutations=1199, seed=0,
    min_effects=Effects(psi=0.1, ks=0.1, auc=0.6, unknown=0.01),
    quality=Quality(min_rows=50, max_drop=0.05, max_ece=0.1, bins=10, confidence=0.95),
    limits=Limits(max_p95_ms=None, max_error_share=None), retrain=False, cool_down_s=0, min_new_feedback=1,
)  # fmt: skip
LABELS = ("negative", "positive")
TEXTS = [text for text, _ in tiny_rows(1200)]


PARTS = {"train": TEXTS[:400], "validation": TEXTS[400:600]}


def replace_forward(known: Reference, label_of: dict[str, str]) -> Any:
    """A predictor that knows the label of each text."""

    class Knowing:
        labels = LABELS
        tokenizer = known.predictor.tokenizer

        def predict(self, texts: list[str]) -> Any:
            return np.array([[0.9, 0.1] if label_of[text] == "negative" else [0.1, 0.9] for text in texts], np.float32)

        def __getattr__(self, name: str) -> Any:
            return getattr(known.predictor, name)

    return Knowing()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The first 400 texts; scores that hang on a text's length."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    make_tiny_tokenizer(path, TEXTS, vocab_size=400)
    settings = text_classification.PredictorSettings(LABELS, unicode="NFKC", mask=(), max_tokens=32, pad_token_id=0)
    predictor = text_classification.Predictor(
        tokenizer=text_classification.load_tokenizer(path, settings), settings=settings,
        forward=lambda ids, mask: np.stack([ids.sum(1) % 7 * mask[:, 0], ids.sum(1) % 5], axis=1).astype(np.float32),
        batch_size=64, threads=1,
    )  # fmt: skip
    return reference("text_classification", predictor, TEXTS[:400], TEXTS[400:600])


@pytest.fixture(scope="module")
def arrays() -> Reference:
    settings = array_classification.PredictorSettings(LABELS, shape=(4, 4), offset=0.0, scale=1.0)
    predictor = array_classification.Predictor(
        settings=settings, forward=lambda values: values[:, :2], batch_size=64, threads=1
    )
    return reference("array_classification", predictor, arrays_of(400, seed=0), arrays_of(200, seed=1))


def arrays_of(number: int, *, seed: int, shift: float = 0.0) -> list[list[list[float]]]:
    return (np.random.default_rng(seed).gamma(2, 1, (number, 4, 4)) + shift).tolist()


def reference(task: str, predictor: Any, inputs: list[Any], validation: list[Any]) -> Reference:
    kind = task_of(task).monitored()
    assert kind is not None
    return Reference(
        kind=kind, labels=LABELS, inputs=inputs, scores=predictor.predict(validation), predictor=predictor,
        actual=np.zeros(len(validation), np.int64), tokens=kind.tokens(inputs, predictor),
    )  # fmt: skip


def found(window: list[Any], known: Reference) -> list[Finding]:
    return detect(window, [len(one) for one in window], known.predictor.predict(window), known, PARAMS)


def alarms(window: list[Any], known: Reference) -> set[str]:
    return {finding.detector for finding in found(window, known) if finding.is_alarm}


def test_windows_of_more_of_the_same_raise_no_alarm(texts: Reference) -> None:
    random = np.random.default_rng(0)
    windows = [[TEXTS[index] for index in random.choice(np.arange(600, 1200), 60, replace=False)] for _ in range(20)]
    assert sum(bool(alarms(window, texts)) for window in windows) == 0


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ([text[: len(text) // 2] for text in TEXTS[600:660]], {"length"}),
        ([f"{text} tower tower tower" for text in TEXTS[600:660]], {"vocabulary", "domain"}),
        ([text.replace("a", "漢") for text in TEXTS[600:660]], {"unknown", "domain"}),
        (["the same text again"] * 60, {"length", "vocabulary", "domain", "labels", "scores"}),
    ],
)
def test_what_changed_is_named(texts: Reference, window: list[str], expected: set[str]) -> None:
    assert expected <= alarms(window, texts)


def test_a_small_difference_in_many_rows_does_not_matter(texts: Reference) -> None:
    large = PARAMS.model_copy(update={"min_effects": Effects(psi=9.0, ks=0.99, auc=1.0, unknown=1.0)})
    window = [f"{text} tower" for text in TEXTS[600:900]]
    lengths, scores = [len(text) for text in window], texts.predictor.predict(window)
    findings = {finding.detector: finding for finding in detect(window, lengths, scores, texts, large)}
    assert findings["vocabulary"].distance.p_value == pytest.approx(1 / 1200)
    assert not any(finding.is_alarm for finding in findings.values())


def test_arrays_are_compared_by_their_values(arrays: Reference) -> None:
    assert {finding.detector for finding in found(arrays_of(60, seed=2), arrays)} == {
        "means", "spreads", "domain", "labels", "scores"
    }  # fmt: skip
    assert alarms(arrays_of(60, seed=2), arrays) == set()
    assert {"means", "domain"} <= alarms(arrays_of(60, seed=3, shift=1.0), arrays)


def test_expected_mix_of_labels_is_no_drift(tmp_path: Path, texts: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows to train on that were sampled half and half, and traffic in its own mix, nine to one."""
    label_of = dict(tiny_rows(1200))
    ids = {name: [LABELS.index(label_of[text]) for text in part] for name, part in PARTS.items()}
    for name, part in PARTS.items():
        pq.write_table(pa.table({"text": part, "label_id": ids[name]}), tmp_path / f"{name}.parquet")
    predictor = replace_forward(texts, label_of)
    monkeypatch.setattr("components.monitoring.reference.load_about", lambda _: SimpleNamespace(limits={"threads": 1}))
    monkeypatch.setattr(texts.kind, "load", lambda *_, **__: predictor, raising=False)
    later = TEXTS[600:]
    negative = [text for text in later if label_of[text] == "negative"]
    positive = [text for text in later if label_of[text] == "positive"]
    window = [*negative[:108], *positive[:12]]

    def known(mix: dict[str, float] | None) -> Reference:
        return read_reference(
            tmp_path, texts.kind, train=tmp_path / "train.parquet", validation=tmp_path / "validation.parquet",
            kept=tmp_path / "kept.parquet", max_rows=10_000, seed=0, mix=mix,
        )  # fmt: skip

    assert {"labels"} <= alarms(window, known(None))
    expected = known({"negative": 0.9, "positive": 0.1})
    assert np.bincount(expected.actual).tolist() == [100, 11]
    assert len(expected.inputs) == 222
    assert alarms(window, expected) == set()
    assert "labels" in alarms([*negative[:60], *positive[:60]], expected)
    with pytest.raises(InputError, match="expected_labels has 'spam', of which the model has seen no row"):
        known({"negative": 0.9, "spam": 0.1})


def test_predictions_are_kept(tmp_path: Path, texts: Reference) -> None:
    import pyarrow as pa

    from components.monitoring.reference import predictions

    kept = tmp_path / "new" / "scores.parquet"
    made = predictions(texts.predictor, pa.chunked_array([TEXTS[400:600]]), kept)
    before = kept.stat().st_mtime_ns
    again = predictions(texts.predictor, pa.chunked_array([TEXTS[400:600]]), kept)
    assert (made == again).all()
    assert (made == texts.scores).all()
    assert kept.stat().st_mtime_ns == before
