import json
import math
import shutil
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pyarrow.csv import read_csv
from sklearn import metrics as reference

from components.evaluate import Inputs, Outputs, stage
from components.evaluate.classification.linear import best_linear_scores
from components.evaluate.classification.report import Report, ReportWithBoth
from components.evaluate.figures import shortened
from components.models.encoder.network import EncoderClassifier, classifier_from_encoder
from components.models.facts import Facts
from components.models.storage import load, save
from components.params import Baseline, Bootstrap, FindTextSlices, LabelErrors, QualityGate, TextClassificationFigures
from components.plumbing.artifacts import figures_of, files_of, read_json
from components.plumbing.errors import ArtifactError, InputError, QualityError
from components.tasks import task_of
from components.tasks.text_classification.judging.torch_predictor import float_predictor
from components.tracking.tracker import NullTracker
from serving.tasks.text_classification.predictor import load_settings, load_tokenizer
from tests.tiny import MOODS, make_tiny_encoder, tiny_rows

run = partial(stage.run, measure=task_of("text_classification").evaluate)

PLOTS = [
    "calibration.csv",
    "calibration.png",
    "classes.png",
    "comparison.png",
    "confusion.csv",
    "confusion.png",
    "curves.png",
]
ALWAYS = QualityGate(metric="accuracy", min=-1.0, min_gain=-2.0)


class Notes(NullTracker):
    """Remembers what a stage logs."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []
        self.metrics: dict[str, float] = {}

    def log_metrics(self, values: Any, *, step: int) -> None:
        self.metrics |= values

    def log_file(self, path: Path, *, folder: str = "") -> None:
        assert path.exists()
        self.files.append((path.name, folder))


def settings_of(gate: QualityGate, *, num_mistakes: int = 5) -> TextClassificationFigures:
    return TextClassificationFigures(
        task="text_classification",
        bootstrap=Bootstrap(num_samples=200, seed=0, confidence=0.95),
        baseline=Baseline(folds=2, choice_rows=200, max_rows=200, seed=0),
        gate=gate,
        calibration_bins=10,
        num_mistakes=num_mistakes,
    )


def write_split(path: Path, rows: list[tuple[str, int]], *, first: int) -> None:
    table = {
        "row": pa.array(range(first, first + len(rows)), pa.int64()),
        "text": [text for text, _ in rows],
        "label_id": pa.array([label_id for _, label_id in rows], pa.int64()),
    }
    pq.write_table(pa.table(table), path)


def make_inputs(
    folder: Path, *, labels: list[str], train: list[tuple[str, int]], test: list[tuple[str, int]]
) -> tuple[Inputs, EncoderClassifier]:
    """Write the inputs of the stage with an untrained model; gives that model too."""
    encoder = make_tiny_encoder(folder / "encoder", [text for text, _ in [*tiny_rows(200), *train, *test]])
    settings = {"labels": labels, "unicode": "NFKC", "mask": [], "max_tokens": 32, "pad_token_id": 0}
    (folder / "predictor").mkdir()
    (folder / "predictor" / "predictor.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copyfile(encoder / "tokenizer.json", folder / "predictor" / "tokenizer.json")
    write_split(folder / "train.parquet", train, first=0)
    write_split(folder / "validation.parquet", train[:10], first=500)
    write_split(folder / "test.parquet", test, first=1000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = classifier_from_encoder(encoder, labels=labels, dropout=0.0)
    save(model, folder / "model", family="encoder", settings=None, facts=Facts(num_labels=len(labels)))
    inputs = Inputs(
        train=folder / "train.parquet",
        validation=folder / "validation.parquet",
        test=folder / "test.parquet",
        predictor=folder / "predictor",
        model=folder / "model",
        control=folder / "control",
        recipe="tiny",
    )
    return inputs, model


def make_outputs(folder: Path) -> Outputs:
    (folder / "artifact").mkdir(parents=True)
    (folder / "observations").mkdir()
    places = {"artifact": folder / "artifact", "observations": folder / "observations"}
    return Outputs(**{f.name: places[f.metadata["place"]] / f.metadata["name"] for f in fields(Outputs)})


def teach(model: EncoderClassifier, inputs: Inputs, rows: list[tuple[str, int]]) -> None:
    """Fit the model to the rows, and save it where the stage reads it."""
    settings = load_settings(inputs.predictor / "predictor.json")
    encodings = load_tokenizer(inputs.predictor / "tokenizer.json", settings).encode_batch([text for text, _ in rows])
    longest = max(len(encoding.ids) for encoding in encodings)
    ids = torch.tensor([[*encoding.ids, *[0] * (longest - len(encoding.ids))] for encoding in encodings])
    target = torch.tensor([label_id for _, label_id in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids, (ids != 0).long()), target).backward()
        optimizer.step()
    save(model, inputs.model, family="encoder", settings=None, facts=Facts(num_labels=model.hosted.config.num_labels))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A model that has learned two classes, and training rows whose labels tell the baseline nothing."""
    folder = tmp_path_factory.mktemp("good")
    labels = sorted(MOODS)
    rows = [(text, labels.index(label)) for text, label in tiny_rows(200)]
    train = [(text, index // 2 % 2) for index, (text, _) in enumerate(rows[:100])]
    test = rows[100:]
    test[0] = (test[0][0], 1 - test[0][1])  # a mistake that every model must make
    inputs, model = make_inputs(folder, labels=labels, train=train, test=test)
    teach(model, inputs, rows[:100])
    return inputs


@pytest.fixture(scope="module")
def judged(good: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Outputs, Notes]:
    outputs, notes = make_outputs(tmp_path_factory.mktemp("judged")), Notes()
    gate = QualityGate(metric="accuracy", min=0.8, min_gain=0.05)
    return run(settings_of(gate), good, outputs, tracker=notes), outputs, notes


def test_the_report_agrees_with_sklearn_on_the_predictions(judged: tuple[Report, Outputs, Notes]) -> None:
    report, outputs, _ = judged
    table = pq.read_table(outputs.results / "predictions.parquet").to_pydict()
    actual, predicted, scores = table["label_id"], table["predicted_id"], np.array(table["scores"])
    assert report.num_test == len(actual) == 100
    assert report.accuracy == pytest.approx(reference.accuracy_score(actual, predicted))
    assert report.f1_micro == report.accuracy
    assert report.f1_macro == pytest.approx(reference.f1_score(actual, predicted, average="macro"), abs=1e-6)
    assert report.mcc == pytest.approx(reference.matthews_corrcoef(actual, predicted), abs=1e-6)
    assert report.roc_auc == pytest.approx(reference.roc_auc_score(actual, scores[:, 1]), abs=1e-6)
    assert report.pr_auc == pytest.approx(reference.average_precision_score(actual, scores[:, 1]), abs=1e-6)
    assert report.num_mistakes == sum(a != p for a, p in zip(actual, predicted, strict=True)) > 0
    assert report.accuracy > 0.8
    for name in ("accuracy", "f1_macro", "roc_auc", "pr_auc", "mcc"):
        values = asdict(report)
        assert values[f"{name}_low"] <= values[name] <= values[f"{name}_high"]


def test_predictions_are_those_of_the_predictor_in_the_order_of_the_split(
    good: Inputs, judged: tuple[Report, Outputs, Notes]
) -> None:
    table = pq.read_table(judged[1].results / "predictions.parquet")
    assert table.schema.names == ["row", "label_id", "predicted_id", "scores", "text"]
    assert table.schema.field("scores").type == pa.list_(pa.float32())
    split = pq.read_table(good.test)
    for name in ("row", "text", "label_id"):
        assert table[name].to_pylist() == split[name].to_pylist()
    settings = load_settings(good.predictor / "predictor.json")
    tokenizer = load_tokenizer(good.predictor / "tokenizer.json", settings)
    predictor = float_predictor(load(good.model), tokenizer=tokenizer, settings=settings)
    scores = np.array(table["scores"].to_pylist())
    np.testing.assert_allclose(scores, predictor.predict(split["text"].to_pylist()), atol=1e-5)
    assert table["predicted_id"].to_pylist() == scores.argmax(axis=1).tolist()


def test_the_baseline_is_trained_on_the_training_split(good: Inputs, judged: tuple[Report, Outputs, Notes]) -> None:
    train, test = (pq.read_table(path).to_pydict() for path in (good.train, good.test))
    scores, _ = best_linear_scores(
        test["text"],
        train=train["text"],
        train_labels=np.array(train["label_id"]),
        num_classes=2,
        metric="accuracy",
        settings=settings_of(ALWAYS).baseline,
    )
    report = judged[0]
    assert report.baseline_accuracy == pytest.approx(reference.accuracy_score(test["label_id"], scores.argmax(axis=1)))
    assert report.majority_accuracy == pytest.approx(test["label_id"].count(0) / 100)
    assert report.gain == pytest.approx(report.accuracy - report.baseline_accuracy, abs=1e-6)
    assert report.gain_low < report.gain < report.gain_high


def test_mistakes_are_the_surest_wrong_ones(judged: tuple[Report, Outputs, Notes]) -> None:
    report, outputs, _ = judged
    mistakes = json.loads((outputs.results / "mistakes.json").read_text())
    assert 0 < len(mistakes) == min(report.num_mistakes, 5)
    assert [m["score"] for m in mistakes] == sorted((m["score"] for m in mistakes), reverse=True)
    for mistake in mistakes:
        assert mistake["actual"] != mistake["predicted"]
        assert mistake["score"] > 0.5 > mistake["actual_score"]
    wrong = [
        row
        for row in pq.read_table(outputs.results / "predictions.parquet").to_pylist()
        if row["label_id"] != row["predicted_id"]
    ]
    wrong.sort(key=lambda row: -max(row["scores"]))
    assert [(m["row"], m["text"]) for m in mistakes] == [(row["row"], row["text"]) for row in wrong[:5]]


def test_tables_for_dvc_count_every_row(judged: tuple[Report, Outputs, Notes]) -> None:
    _, outputs, _ = judged
    confusion = read_csv(outputs.plots / "confusion.csv")
    assert confusion.schema.names == ["actual", "predicted"]
    assert confusion.num_rows == 100
    assert set(confusion["actual"].to_pylist()) == set(MOODS)
    calibration = read_csv(outputs.plots / "calibration.csv")
    assert calibration.schema.names == ["confidence", "accuracy", "num_rows"]
    assert sum(calibration["num_rows"].to_pylist()) == 100


def test_plots_and_mistakes_reach_the_tracker(judged: tuple[Report, Outputs, Notes]) -> None:
    _, outputs, notes = judged
    assert notes.files == [
        ("plots", "plots"),
        ("baseline.json", ""),
        ("classes.json", ""),
        ("gate.json", ""),
        ("mistakes.json", ""),
        ("report.html", ""),
    ]
    assert notes.metrics["rows_per_s"] > 0
    assert sorted(path.name for path in outputs.plots.iterdir()) == PLOTS
    for path in outputs.plots.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 150
            assert image.info.keys() <= {"dpi"}, "no clock and no version of a library"
            assert image.convert("L").getextrema() != (255, 255)


def test_the_same_inputs_give_the_same_bytes(
    good: Inputs, judged: tuple[Report, Outputs, Notes], tmp_path: Path
) -> None:
    report, outputs, _ = judged
    again = make_outputs(tmp_path)
    gate = QualityGate(metric="accuracy", min=0.8, min_gain=0.05)
    assert run(settings_of(gate), good, again, tracker=NullTracker()) == report
    digests = files_of(outputs.results.parent)
    assert read_json(outputs.metrics) == {"accuracy": shortened(report.accuracy), "gain": shortened(report.gain)}
    assert len(digests) == 7 + len(PLOTS)
    assert files_of(again.results.parent) == digests


def test_below_the_bar_is_a_failed_gate_that_leaves_its_figures(good: Inputs, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path)
    gate = QualityGate(metric="f1_macro", min=0.9999, min_gain=0.0)
    message = r"^f1_macro 0\.\d{4} \(95% interval 0\.\d{4} to \d\.\d{4}\) is below evaluate.gate.min 0.9999\. "
    with pytest.raises(QualityError, match=message) as failed:
        run(settings_of(gate), good, outputs, tracker=NullTracker())
    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 3
    assert failed.value.report["gate_metric"] == "f1_macro"
    assert sorted(path.name for path in (outputs.observations / "plots").iterdir()) == PLOTS
    assert (outputs.observations / "results" / "mistakes.json").is_file()
    page = (outputs.observations / "results" / "report.html").read_text(encoding="utf-8")
    assert '<h1>tiny: <span class="alarm">did not pass its gate</span></h1>' in page
    assert (
        '<p class="lead"><span class="alarm">It did not pass its quality gate, and is not served: f1_macro 0.' in page
    )


def test_a_gain_that_may_be_chance_is_a_failed_gate(
    good: Inputs, judged: tuple[Report, Outputs, Notes], tmp_path: Path
) -> None:
    between = (judged[0].gain_low + judged[0].gain) / 2  # the gain is above it, the end of its interval is not
    gate = QualityGate(metric="accuracy", min=0.5, min_gain=between)
    with pytest.raises(
        QualityError, match=r"^the gain in accuracy over .* of characters is .* above evaluate.gate.min_gain 0\."
    ):
        run(settings_of(gate), good, make_outputs(tmp_path), tracker=NullTracker())


def test_the_gain_is_in_the_metric_of_the_gate(good: Inputs, tmp_path: Path) -> None:
    gate = QualityGate(metric="mcc", min=0.0, min_gain=0.0)
    report = run(settings_of(gate), good, make_outputs(tmp_path), tracker=NullTracker())
    assert report.gate_metric == "mcc"
    assert report.gain == pytest.approx(report.mcc - report.baseline_mcc, abs=2e-6)


def test_a_model_like_the_baseline_does_not_pass(tmp_path: Path) -> None:
    rows = [("good film" if index % 2 else "bad film", index % 2) for index in range(60)]
    inputs, model = make_inputs(tmp_path, labels=["bad", "good"], train=rows[:40], test=rows[40:])
    teach(model, inputs, rows[:40])
    gate = QualityGate(metric="mcc", min=0.99, min_gain=0.0)
    with pytest.raises(QualityError, match=r"gain in mcc over .* is 0\.0000 .* not above .*min_gain 0") as failed:
        run(settings_of(gate), inputs, make_outputs(tmp_path / "out"), tracker=NullTracker())
    assert failed.value.report["accuracy"] == failed.value.report["accuracy_low"] == 1
    gate = QualityGate(metric="mcc", min=0.99, min_gain=-0.01)
    report = run(settings_of(gate), inputs, make_outputs(tmp_path / "again"), tracker=NullTracker())
    assert (report.num_mistakes, report.gain) == (0, 0)


def test_both_faults_are_told_at_once(good: Inputs, tmp_path: Path) -> None:
    gate = QualityGate(metric="accuracy", min=1.5, min_gain=1.5)
    with pytest.raises(QualityError, match=r"is below evaluate.gate.min 1.5; and the gain in accuracy"):
        run(settings_of(gate), good, make_outputs(tmp_path), tracker=NullTracker())


@pytest.mark.parametrize("num_classes", [2, 3, 41])
def test_few_rows_and_many_classes_out_of_balance(num_classes: int, tmp_path: Path) -> None:
    odd = ["$\\frac{$ no mathematics", "中文", "a label that is much longer than a picture can show", "two\nlines"]
    labels = [*odd, *(f"topic {number}" for number in range(num_classes))][:num_classes]
    random = np.random.default_rng(0)
    rows = [(text, int(random.geometric(0.4) - 1) % num_classes) for text, _ in tiny_rows(80)]
    rows[60:62] = [(rows[60][0], 0), (rows[61][0], 1)]
    inputs, _ = make_inputs(tmp_path, labels=labels, train=rows[:60], test=rows[60:])
    outputs = make_outputs(tmp_path / "out")
    report = run(settings_of(ALWAYS), inputs, outputs, tracker=NullTracker())
    assert (report.num_test, report.num_classes) == (20, num_classes)
    assert all(math.isfinite(value) for value in figures_of(report).values() if not isinstance(value, str))
    classes = json.loads((outputs.results / "classes.json").read_text())
    assert set(classes) == set(labels)
    assert sum(figures["num_rows"] for figures in classes.values()) == 20
    undefined = [label for label, figures in classes.items() if figures["f1"] is None]
    assert all(classes[label]["num_rows"] == 0 for label in undefined)
    assert bool(undefined) == (num_classes > 3)
    assert sorted(path.name for path in outputs.plots.iterdir()) == PLOTS


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1], [1, 1], r"the test split holds only the label 'good' \(2 rows\)"),
        ([0, 0], [0, 1], r"the training split holds only the label 'bad' \(2 rows\)"),
        ([0, 1], [], r"the test split holds no rows"),
    ],
)
def test_a_split_that_can_judge_nothing_is_refused(
    train: list[int], test: list[int], message: str, tmp_path: Path
) -> None:
    splits = [[(f"a film {number}", label_id) for number, label_id in enumerate(ids)] for ids in (train, test)]
    inputs, _ = make_inputs(tmp_path, labels=["bad", "good"], train=splits[0], test=splits[1])
    with pytest.raises(InputError, match=message):
        run(settings_of(ALWAYS), inputs, make_outputs(tmp_path / "out"), tracker=NullTracker())


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # inf less inf, in the softmax
def test_a_model_with_scores_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    rows = [(text, index % 2) for index, (text, _) in enumerate(tiny_rows(20))]
    inputs, model = make_inputs(tmp_path, labels=["bad", "good"], train=rows[:10], test=rows[10:])
    torch.nn.init.constant_(model.hosted.bert.pooler.dense.bias, 10.0)  # tanh gives 1
    torch.nn.init.constant_(model.hosted.classifier.weight, 3e38)
    save(model, inputs.model, family="encoder", settings=None, facts=Facts(num_labels=2))
    with pytest.raises(ArtifactError, match=r"not finite for 10 of 10 test rows; .*learning_rate"):
        run(settings_of(ALWAYS), inputs, make_outputs(tmp_path / "out"), tracker=NullTracker())


@pytest.fixture(scope="module")
def compared(good: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Outputs]:
    """The good model beside an untrained control, over two slices of 70 and 30 rows."""
    folder = tmp_path_factory.mktemp("compared")
    table = pq.read_table(good.test)
    names = pa.array([None if number % 10 == 9 else "\u4e66" if number % 10 > 6 else "hotels" for number in range(100)])
    pq.write_table(table.append_column("slice", names), folder / "test.parquet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        control = classifier_from_encoder(
            good.model.parent / "encoder", labels=("negative", "positive"), dropout=0.0, pretrained=False
        )
    save(control, folder / "control", family="encoder", settings=None, facts=Facts(num_labels=2))
    outputs = make_outputs(folder)
    inputs = replace(good, test=folder / "test.parquet", control=folder / "control")
    return run(settings_of(ALWAYS), inputs, outputs, tracker=NullTracker()), outputs


def test_the_gain_of_pretraining_is_that_over_the_control_on_the_same_rows(compared: tuple[Report, Outputs]) -> None:
    report, _ = compared
    assert isinstance(report, ReportWithBoth)
    assert report.control_accuracy < 0.7 < report.accuracy
    assert report.pretraining_gain == pytest.approx(report.accuracy - report.control_accuracy, abs=2e-6)
    assert 0 < report.pretraining_gain_low < report.pretraining_gain < report.pretraining_gain_high
    # paired: the interval is that of one row's difference, which two intervals of their own do not give
    apart = report.accuracy_high - report.accuracy_low + report.control_accuracy_high - report.control_accuracy_low
    assert report.pretraining_gain_high - report.pretraining_gain_low < apart


def test_each_slice_has_its_figures(compared: tuple[Report, Outputs]) -> None:
    report, outputs = compared
    assert isinstance(report, ReportWithBoth)
    slices = json.loads((outputs.results / "slices.json").read_text())
    assert {name: figures["num_rows"] for name, figures in slices.items()} == {"hotels": 70, "\u4e66": 20, "(none)": 10}
    predictions = pq.read_table(outputs.results / "predictions.parquet").to_pydict()
    right = np.array(predictions["label_id"]) == np.array(predictions["predicted_id"])
    is_hotel = np.arange(100) % 10 < 7
    assert slices["hotels"]["accuracy"] == pytest.approx(right[is_hotel].mean(), abs=1e-6)
    total = sum(figures["num_rows"] * figures["control_accuracy"] for figures in slices.values())
    assert total / 100 == pytest.approx(report.control_accuracy, abs=1e-5)
    for figures in slices.values():
        assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"]
    assert report.num_slices == 3
    assert report.worst_slice_accuracy == min(figures["accuracy"] for figures in slices.values())
    with Image.open(outputs.plots / "slices.png") as picture:
        assert min(picture.size) > 200


def test_without_a_control_or_slices_the_report_has_no_such_figures(judged: tuple[Report, Outputs, Notes]) -> None:
    report, outputs, _ = judged
    assert not {"control_accuracy", "pretraining_gain", "worst_slice"} & asdict(report).keys()
    for name in ("slices.json", "found_slices.json", "label_errors.json"):
        assert not (outputs.results / name).exists()


def test_slices_and_wrong_labels_are_looked_for_where_the_recipe_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = sorted(MOODS)
    rows = [(text, labels.index(label)) for text, label in tiny_rows(400)]
    flipped = set(np.random.default_rng(0).choice(300, 12, replace=False).tolist())
    train = [(text, 1 - label_id if row in flipped else label_id) for row, (text, label_id) in enumerate(rows[:300])]
    inputs, _ = make_inputs(tmp_path, labels=labels, train=train, test=rows[300:])
    write_split(inputs.validation, rows[:0], first=500)
    asked = settings_of(ALWAYS).model_copy(
        update={
            "find_slices": FindTextSlices(min_rows=10, max_words=20, clusters=3, seed=0, shown=5),
            "label_errors": LabelErrors(folds=5, shown=10, seed=0, max_rows=1000),
        }
    )
    with caplog.at_level("INFO", "components"):
        first = make_outputs(tmp_path / "first")
        run(asked, inputs, first, tracker=NullTracker())
    assert "surely worse than the rest: label 'negative' 0.000" in caplog.text  # the untrained model names the other
    assert " labels are suspected" in caplog.text
    errors = read_json(first.results / "label_errors.json")
    assert errors["splits"] == {"train": 300, "test": 100}
    hits = sum(one["row"] in flipped and one["split"] == "train" for one in errors["suspects"])
    assert hits >= 5  # of ten rows; chance would find 0.3
    lines = (first.results / "label_errors.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == errors["num_suspected"] + 1
    slices = read_json(first.results / "found_slices.json")
    assert slices["slices"][0]["kind"] == "label"
    assert slices["slices"][0]["is_surely_worse"]
    assert set(slices["looked_at"]) == {"length", "word", "cluster", "label"}
    second = make_outputs(tmp_path / "second")
    run(asked, inputs, second, tracker=NullTracker())
    for folder in ("results", "plots"):
        assert files_of(getattr(first, folder)) == files_of(getattr(second, folder))
    assert (first.plots / "found_slices.png").is_file()


def test_what_is_looked_for_is_left_out_with_its_reason_where_the_rows_are_too_few(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(text, index % 2) for index, (text, _) in enumerate(tiny_rows(60))]
    inputs, _ = make_inputs(tmp_path, labels=["bad", "good"], train=rows[:40], test=rows[40:])
    slices = FindTextSlices(min_rows=30, max_words=20, clusters=3, seed=0, shown=5)
    errors = LabelErrors(folds=5, shown=5, seed=0, max_rows=1000)
    first = make_outputs(tmp_path / "a")
    asked = {"find_slices": slices, "label_errors": errors}
    run(settings_of(ALWAYS).model_copy(update=asked), inputs, first, tracker=NullTracker())
    assert "Slices found: left out, as evaluate.find_slices.min_rows is 30, but the test split holds 20" in caplog.text
    page = (first.results / "report.html").read_text(encoding="utf-8")
    assert "</span>, as evaluate.find_slices.min_rows is 30, but the test split holds 20 rows" in page
    assert not (first.results / "found_slices.json").exists()
    assert (first.results / "label_errors.json").is_file()  # the one does not keep the other out
    write_split(inputs.train, [*[(text, 0) for text, _ in rows[:38]], *rows[38:40]], first=0)
    write_split(inputs.validation, rows[:0], first=500)
    write_split(inputs.test, [(text, 0) for text, _ in rows[40:59]] + rows[59:], first=1000)
    second = make_outputs(tmp_path / "b")
    run(settings_of(ALWAYS).model_copy(update={"label_errors": errors}), inputs, second, tracker=NullTracker())
    page = (second.results / "report.html").read_text(encoding="utf-8")
    assert "label_errors.folds is 5, but the label &#x27;good&#x27; has 2 of the 60 rows" in page
    assert not (second.results / "label_errors.json").exists()
