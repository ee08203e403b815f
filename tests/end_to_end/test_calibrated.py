"""A recipe that asks for calibrated scores and a threshold, from its trained model to the service's answers."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.__main__ import run_stage
from components.evaluate.classification.calibrate import fit
from components.package.bento import serving
from components.params import Calibrate
from components.plumbing.artifacts import files_of, read_json
from components.plumbing.errors import InputError, ParamsError, QualityError
from components.recipes import load_yaml
from components.tasks import task_of
from components.tracking.pyfunc.signatures import signature_of
from components.tracking.tracker import NullTracker
from serving.predictors.calibration import load_calibration
from serving.tasks.text_classification import endpoint
from serving.tasks.text_classification.predictor import Predictor
from tests.browser import Browser
from tests.patience import PATIENCE_S
from tests.projects import edit
from tests.tiny import tiny_rows
from tests.tiny_model import finish, new, write_lock, write_split

CALIBRATE = {"method": "isotonic", "min_class_rows": 5, "precision": 0.8}


def make_project(trained: Path, root: Path, **calibrate: Any) -> Path:
    """A project up to finetune, with the rows that evaluate's baseline learns from."""
    shutil.copytree(trained, root)
    artifacts = root / "artifacts/tiny"
    shutil.rmtree(artifacts / "evaluate")
    write_split(artifacts / "preprocess/train.parquet", tiny_rows(300), range(180))
    new(artifacts / "finetune/control")
    for stage in ("preprocess", "finetune"):
        finish(artifacts / stage, {})
    edit(root, "tiny.evaluate.calibrate", CALIBRATE | calibrate)
    return root


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def calibrated(trained: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(trained, tmp_path_factory.mktemp("calibrated") / "project")
    for stage in ("evaluate", "compress"):
        run_stage(root, "tiny", stage, tracker=NullTracker())
    write_lock(root, load_yaml(root / "params.yaml")["recipes"]["tiny"])
    run_stage(root, "tiny", "package", tracker=NullTracker())
    return root


@pytest.fixture(scope="module")
def url(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    tag = read_json(calibrated / "artifacts/tiny/package/report.json")["tag"]
    with serving(tag, ready_timeout_s=60, log=tmp_path_factory.mktemp("log") / "serve.log") as served:
        yield served.url


def unsure_of(bundle: Path, texts: list[str]) -> str:
    """The text whose answer is the least sure."""
    scores = Predictor.load(bundle, threads=1).predict(texts)
    return texts[int(scores.max(axis=1).argmin())]


TEXTS = [text for text, _ in tiny_rows(300)[240:]] + ["", "!", "music", "the", "dull music, superb city"]


def test_bundle_holds_what_was_fitted_to_the_served_scores_and_says_it(calibrated: Path, tmp_path: Path) -> None:
    artifacts = calibrated / "artifacts/tiny"
    evaluated, compressed = (read_json(artifacts / stage / "report.json") for stage in ("evaluate", "compress"))
    bare = shutil.copytree(artifacts / "compress/model", tmp_path / "bare")
    (bare / "calibration.json").unlink()
    validation = pq.read_table(artifacts / "preprocess/validation.parquet")
    own, _ = fit(
        Predictor.load(bare, threads=1).predict(validation["text"].to_pylist()),
        validation["label_id"].to_numpy(), Calibrate(**CALIBRATE), level=evaluated["confidence"],
    )  # fmt: skip
    served = read_json(artifacts / "package/bundle/calibration.json")
    assert served == own.as_data() != read_json(artifacts / "evaluate/results/calibration.json")
    assert compressed["threshold"] == pytest.approx(served["threshold"], abs=1e-6)
    assert evaluated["calibration"] == "isotonic"
    assert evaluated["num_calibrated_on"] == 60
    assert "temperature" not in evaluated
    assert evaluated["ece_gain"] == pytest.approx(evaluated["ece_before"] - evaluated["ece"], abs=2e-6)
    assert 0 < evaluated["coverage"] <= 1
    assert {"ece", "coverage", "answered_precision"} <= compressed.keys()
    assert compressed["mean_difference"] < 0.1  # both are calibrated
    test = pq.read_table(artifacts / "preprocess/test.parquet")
    scores = Predictor.load(artifacts / "compress/model", threads=1).predict(test["text"].to_pylist())
    found = load_calibration(artifacts / "compress/model", num_labels=2)
    assert found is not None
    assert compressed["coverage"] == pytest.approx(float(found.is_sure(scores).mean()), abs=1e-6)
    card = (artifacts / "package/bundle/card.md").read_text()
    assert f"is below {compressed['threshold']:.4g}: take it" in card
    assert f"{compressed['coverage']:.1%} of the answers do not abstain" in card
    plots = (artifacts / "evaluate/plots/calibration.csv").read_text().splitlines()
    assert plots[0] == "scores,confidence,accuracy,num_rows"
    assert {line.partition(",")[0] for line in plots[1:]} == {"calibrated", "before"}
    page = (artifacts / "evaluate/results/report.html").read_text(encoding="utf-8")
    assert "isotonic regression" in page
    assert 'id="calibration"' in page


def test_service_answers_as_the_predictor_and_says_whether_it_abstains(calibrated: Path, url: str) -> None:
    bundle = calibrated / "artifacts/tiny/package/bundle"
    predictor = Predictor.load(bundle, threads=2)
    expected = predictor.answers(predictor.predict(TEXTS))
    asked = [httpx.post(f"{url}/classify", json={"texts": [text]}, timeout=PATIENCE_S).json()[0] for text in TEXTS]
    together = httpx.post(f"{url}/classify", json={"texts": TEXTS}, timeout=PATIENCE_S)
    assert asked == together.json() == expected
    threshold = read_json(bundle / "calibration.json")["threshold"]
    assert [one["abstain"] for one in asked] == [max(one["scores"].values()) < threshold - 1e-6 for one in asked]
    described = httpx.get(f"{url}/docs.json", timeout=PATIENCE_S).text
    assert '"abstain"' in described
    pairs = endpoint.pairs({"texts": TEXTS}, together.content, is_hashed=False)
    assert [answer["abstain"] for _, answer in pairs] == [one["abstain"] for one in asked]


def test_mlflow_model_gives_the_column_too(calibrated: Path, packaged: Path) -> None:
    columns = {}
    for root in (calibrated, packaged):
        signature, _ = signature_of(root / "artifacts/tiny/package/bundle")
        columns[root] = signature.outputs.input_names()
    assert columns[calibrated] == ["label", "scores", "abstain"]
    assert columns[packaged] == ["label", "scores"]


def test_champion_without_a_calibration_is_compared_as_any_other(calibrated: Path, packaged: Path) -> None:
    from components.comparison.duel import HeldOut
    from components.params import Bootstrap

    artifacts = calibrated / "artifacts/tiny"
    held = HeldOut(
        test=artifacts / "preprocess/test.parquet",
        predictor=artifacts / "preprocess/predictor",
        results=artifacts / "evaluate/results",
    )
    duel = task_of("text_classification").duel(held, metric="accuracy")
    champion, challenger = (
        duel.load(root / "artifacts/tiny/package/bundle", threads=1) for root in (packaged, calibrated)
    )
    bootstrap = Bootstrap(num_samples=100, seed=0, confidence=0.95)
    found = duel.compare(duel.answers(champion), duel.answers(challenger), bootstrap=bootstrap)
    assert abs(found.drop) < 0.2


def test_page_says_that_it_does_not_know(calibrated: Path, url: str, browser: Browser) -> None:
    bundle = calibrated / "artifacts/tiny/package/bundle"
    text = unsure_of(bundle, TEXTS[60:])
    predictor = Predictor.load(bundle, threads=1)
    (answer,) = predictor.answers(predictor.predict([text or "the"]))
    page = browser.open(url)
    page.fill("#text", text or "the")
    page.click("#weigh")
    page.click("button.main")
    page.wait("!document.querySelector('#result').hidden")
    shown = page.text("#status")
    if answer["abstain"]:
        assert shown.startswith(f"I do not know ({answer['label']}, ")
        assert "I do not know" in page.text("#scores")
    answers = [{"label": "a", "scores": {"a": 0.6, "b": 0.4}, "abstain": True}]
    page.run(f"showScores({{answers: {json.dumps(answers)}, id: null, milliseconds: 5}})")
    assert page.text("#status") == "I do not know (a, 60.0 %), in 5 ms."
    assert "I do not know: no score is high enough" in page.text("#scores")
    answers[0]["abstain"] = False
    page.run(f"showScores({{answers: {json.dumps(answers)}, id: null, milliseconds: 5}})")
    assert page.text("#status") == "a, 60.0 %, in 5 ms."
    assert "I do not know" not in page.text("#scores")


def test_same_inputs_give_the_same_bytes(calibrated: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(calibrated, tmp_path / "project"))
    for stage in ("evaluate", "compress"):
        before = files_of(root / "artifacts/tiny" / stage)
        run_stage(root, "tiny", stage, tracker=NullTracker())
        assert files_of(root / "artifacts/tiny" / stage) == before


@pytest.mark.parametrize(
    ("calibrate", "error", "said"),
    [
        ({"min_class_rows": 40}, InputError, r"fewer than 40 rows \(evaluate.calibrate.min_class_rows\) of"),
        ({"precision": 0.999}, QualityError, "no confidence reaches evaluate.calibrate.precision 0.999"),
        ({"precision": 1.0}, ParamsError, "tiny.evaluate.calibrate.precision"),
        ({"method": "platt"}, ParamsError, "tiny.evaluate.calibrate.method"),
    ],
)
def test_bad_settings_and_too_few_rows_stop_with_one_line(
    calibrate: dict[str, Any], error: type[Exception], said: str, trained: Path, tmp_path: Path
) -> None:
    root = make_project(trained, tmp_path / "project", **calibrate)
    with pytest.raises(error, match=said) as caught:
        run_stage(root, "tiny", "evaluate", tracker=NullTracker())
    assert error is ParamsError or "\n" not in str(caught.value)
    assert not (root / "artifacts/tiny/evaluate").exists()


def test_nothing_of_it_is_there_where_it_is_not_asked(trained: Path, tmp_path: Path) -> None:
    root = make_project(trained, tmp_path / "project")
    edit(root, "tiny.evaluate.calibrate", None)
    run_stage(root, "tiny", "evaluate", tracker=NullTracker())
    folder = root / "artifacts/tiny/evaluate"
    assert "calibration.json" not in {path.name for path in (folder / "results").iterdir()}
    assert not {"calibration", "log_loss", "coverage", "ece_before"} & read_json(folder / "report.json").keys()
    scores = np.array(pq.read_table(folder / "results/predictions.parquet")["scores"].to_pylist(), np.float32)
    given = pq.read_table(trained / "artifacts/tiny/evaluate/results/predictions.parquet")["scores"].to_pylist()
    assert scores == pytest.approx(np.array(given, np.float32), abs=1e-5)
