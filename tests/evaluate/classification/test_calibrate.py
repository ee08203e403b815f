import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression

from components.evaluate.bootstrap import intervals
from components.evaluate.classification.calibrate import (
    check_rows,
    fit_isotonic,
    fit_temperature,
    lower_bounds,
    threshold_of,
)
from components.evaluate.classification.calibrated import Calibrated, calibrated_metrics
from components.evaluate.classification.calibration_page import part
from components.evaluate.classification.metrics import Labels, Scores, calibration_metrics
from components.params import Bootstrap, Calibrate
from components.plumbing.errors import InputError, QualityError
from serving.predictors.calibration import MAX_KNOTS, Calibration, Isotonic, Temperature, fault_of
from serving.predictors.scores import softmax


def loss_of(actual: Labels, scores: Scores) -> float:
    return float(-np.log(scores[np.arange(len(actual)), actual].astype(np.float64)).mean())


BOOTSTRAP = Bootstrap(num_samples=200, seed=0, confidence=0.95)


def rows_of(temperature: float, *, num_rows: int = 4000, num_classes: int = 3, seed: int = 0) -> tuple[Scores, Labels]:
    """Scores that are `temperature` times too sure, and labels drawn by the scores that are right."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_rows, num_classes)) * 1.5
    shares = softmax(logits).astype(np.float64)
    actual = np.array([random.choice(num_classes, p=row / row.sum()) for row in shares], np.int64)
    return softmax(logits * temperature), actual


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_that_made_the_scores_is_found_again(temperature: float) -> None:
    scores, actual = rows_of(temperature)
    found = fit_temperature(scores, actual)
    assert found.value == pytest.approx(temperature, rel=0.06)
    best = loss_of(actual, found.apply(scores))
    for other in (0.97, 1.03):
        assert best < loss_of(actual, Temperature(found.value * other).apply(scores))
    assert fit_temperature(scores, actual) == found


@pytest.mark.parametrize("fit", [fit_temperature, fit_isotonic])
def test_scores_that_are_too_sure_are_mended_on_other_rows(fit: "type[object]") -> None:
    way = fit(*rows_of(3.0, seed=1))
    before, actual = rows_of(3.0, seed=2)
    calibrated = Calibrated(Calibration(way), 4000, before, way.apply(before))
    found = intervals(calibrated_metrics(actual, calibrated, num_bins=15), num_rows=4000, bootstrap=BOOTSTRAP)
    for name in ("ece_gain", "log_loss_gain"):
        assert found[name][1] > 0
    once = np.ones((4000, 1), np.float32)
    after = calibration_metrics(actual, calibrated.after, num_bins=15)(once)["ece"][0]
    assert found["ece_before"][0] - found["ece_gain"][0] == pytest.approx(after)
    assert after < 0.04 < 0.1 < found["ece_before"][0]
    assert found["log_loss"][0] == pytest.approx(loss_of(actual, calibrated.after), abs=1e-6)
    if fit is fit_temperature:
        assert (found["accuracy_gain"] == 0).all()


def test_lines_are_those_of_scikit_learn_between_platts_targets_with_few_knots() -> None:
    scores, actual = rows_of(2.0)
    found = fit_isotonic(scores, actual)
    assert isinstance(found, Isotonic)
    assert fault_of(Calibration(found), num_labels=3) is None
    for label, knots in enumerate(found.knots):
        hits = int((actual == label).sum())
        ends = {"y_min": 1 / (4000 - hits + 2), "y_max": (hits + 1) / (hits + 2)}
        line = IsotonicRegression(**ends).fit(scores[:, label].astype(np.float64), actual == label)
        expected = line.predict(scores[:, label].astype(np.float64))
        assert len(knots.score) <= MAX_KNOTS
        assert np.interp(scores[:, label], knots.score, knots.share) == pytest.approx(expected, abs=0.06)


def test_threshold_is_the_least_from_which_the_bound_holds() -> None:
    scores, actual = rows_of(1.0)
    threshold = threshold_of(scores, actual, precision=0.9, level=0.95)
    confidence, hit = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == actual

    def bound(least: float) -> float:
        chosen = hit[confidence >= least]
        test = binomtest(int(chosen.sum()), len(chosen), alternative="greater")
        return test.proportion_ci(0.95, method="exact").low

    assert bound(threshold) >= 0.9
    assert all(bound(one) < 0.9 for one in np.unique(confidence[confidence < threshold]))
    assert hit[confidence >= threshold].mean() > 0.9
    other, truth = rows_of(1.0, seed=5)
    assert (other.argmax(axis=1) == truth)[other.max(axis=1) >= threshold].mean() > 0.89


def test_bound_is_clopper_and_pearsons() -> None:
    hits, rows = np.array([0, 58, 59]), np.array([5, 59, 59])
    expected = [
        binomtest(int(h), int(n), alternative="greater").proportion_ci(0.95, method="exact").low
        for h, n in zip(hits, rows, strict=True)
    ]
    assert lower_bounds(hits, rows, level=0.95) == pytest.approx(expected)


def test_precision_that_no_threshold_reaches_is_refused_with_the_best() -> None:
    scores, actual = rows_of(1.0, num_rows=300)
    with pytest.raises(
        QualityError, match=r"precision 0\.999 on the 300 rows .* sure \(lower 95% bound\) is 0\."
    ) as caught:
        threshold_of(scores, actual, precision=0.999, level=0.95)
    best = caught.value.report["best_precision"]
    assert isinstance(best, float)
    assert 0 < best < 0.999


def test_label_with_too_few_rows_is_refused_by_its_name() -> None:
    settings = Calibrate(method="temperature", min_class_rows=3, precision=None)
    check_rows(np.array([0, 0, 0, 1, 1, 1]), ["a", "b"], settings)
    with pytest.raises(InputError, match=r"fewer than 3 rows .*min_class_rows\) of 'b \(2\)', 'c \(0\)', too few"):
        check_rows(np.array([0, 0, 0, 1, 1]), ["a", "b", "c"], settings)


def test_temperature_of_a_model_without_a_mistake_or_without_a_clue_is_refused() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]] * 20, np.float32)
    with pytest.raises(InputError, match="right on all 40 rows of the validation split"):
        fit_temperature(scores, np.array([0, 1] * 20))
    with pytest.raises(InputError, match="scores tell nothing of the labels"):
        fit_temperature(scores, np.array([1, 0] * 20))


def test_scores_that_fp32_rounds_to_zero_have_a_finite_loss() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]] * 10, np.float32)
    actual = np.array([0, 1, 1] * 10)
    for way in (Temperature(99.0), fit_isotonic(scores, actual)):
        calibrated = Calibrated(Calibration(way, threshold=1.1), 30, scores, way.apply(scores))
        found = calibrated_metrics(actual, calibrated, num_bins=10)(np.ones((30, 1), np.float32))
        assert np.isfinite(found["log_loss_before"]).all()
        assert 0.4 < found["log_loss"][0] < 0.7
        assert found["coverage"] == [0]
        assert np.isnan(found["answered_precision"]).all()


def test_part_of_the_page_tells_figures() -> None:
    figures = {
        f"{name}{what}{end}": 0.25
        for name in ("ece", "log_loss", "accuracy", "coverage", "answered_precision")
        for what in ("", "_before", "_gain")
        for end in ("", "_low", "_high")
    }
    report = {**figures, "num_calibrated_on": 1008, "confidence": 0.95, "temperature": 1.87, "threshold": 0.9039}
    made = part({**report, "wanted_precision": 0.95})
    assert made.title == "Calibration"
    for said in ("1,008 rows", "temperature 1.87", "0.9039", "0.2500 (0.2500 to 0.2500)", "I do not know"):
        assert said in made.body
    for name in ("temperature", *(name for name in report if name.startswith("coverage"))):
        del report[name]
    without = part(report).body
    assert "isotonic regression" in without
    assert "abstain" not in without
