"""Training on new rows from the weights and the tokenizer behind the champion, on a real registry."""

import csv
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from tokenizers import Tokenizer

from components import finetune, preprocess, pretrain
from components.champion import champion_folder, champion_tokenizer
from components.finetune.train import run as train_on_labels
from components.models.encoder.network import classifier_from_encoder
from components.models.facts import Facts
from components.models.storage import build, load, save
from components.params import Load, PretrainFromData, TextClassificationData, TextGenerationData
from components.params.families.gpt import GptSettings
from components.plumbing.artifacts import artifact_names, files_of, write_json
from components.plumbing.errors import InputError, SourceError
from components.tasks import task_of
from components.tracking.stage_run import stage_run
from components.tracking.tracker import NullTracker, Tracker
from tests.finetune.rows import array_inputs, outputs_in
from tests.finetune.test_train import params as of_its_own
from tests.tasks.text_generation.test_preprocess import SETTINGS as DOCUMENTS
from tests.tiny import make_tiny_encoder, tiny_rows
from tests.tiny_bundles import finish_bundle
from tests.tiny_documents import tiny_documents
from tests.training.test_causal import SETTINGS as CAUSAL

OLD, NEW = tiny_documents(40), tiny_documents(80)[40:]
GPT = GptSettings(family="gpt", hidden_size=16, num_layers=1, num_heads=2, dropout=0.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A folder with a store of its own, in which `documents` has a champion, trained on the old documents."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        read = prepare(root / "old", {"text": OLD}, documents(), tracker=NullTracker())
        model = train(root / "old", read, source=None, tracker=NullTracker())
        register(root, "documents", model)
        yield root


def register(root: Path, recipe: str, weights: Path) -> None:
    bundle = root / f"{recipe}.bundle"
    bundle.mkdir()
    finish_bundle(bundle, task="text_generation")
    with stage_run(root, recipe, "package") as run:
        assert run.register_model(bundle, weights=weights)["alias"] == "champion"


def documents(**changes: Any) -> TextGenerationData:
    return TextGenerationData.model_validate(DOCUMENTS | changes, strict=False)


def prepare(
    folder: Path, columns: dict[str, list[str]], params: TextGenerationData | TextClassificationData, *,
    tracker: Tracker,
) -> pretrain.Inputs:  # fmt: skip
    """Run preprocess on rows; gives what pretrain reads."""
    out = folder / "preprocess"
    (folder / "observations").mkdir(parents=True)
    out.mkdir()
    pq.write_table(pa.table(columns), folder / "data.parquet")
    write_json(folder / "verdict.json", {"labels": sorted(set(columns.get("label", ())))})
    places = [out / name for name in artifact_names(preprocess.Outputs)]
    outputs = preprocess.Outputs(*places, work=folder / "work", observations=folder / "observations")
    inputs = preprocess.Inputs(folder / "data.parquet", folder / "verdict.json", folder)
    preprocess.run(params, inputs, outputs, tracker=tracker, prepare=task_of(params.task).preprocess)
    assert not outputs.work.exists()
    return pretrain.Inputs(outputs.train, outputs.validation, outputs.unlabelled, outputs.predictor, folder)


def train(folder: Path, read: pretrain.Inputs, *, source: str | None, tracker: Tracker) -> Path:
    """Run pretrain in the mode `train`; gives the model's folder, beside its history."""
    params = PretrainFromData.model_validate(CAUSAL | {"source": source}, strict=False)
    return pretrained(folder / f"from {source}", params, read, tracker=tracker)


def pretrained(target: Path, params: PretrainFromData | Load, read: pretrain.Inputs, *, tracker: Tracker) -> Path:
    target.mkdir()
    outputs = pretrain.Outputs(target / "model", target / "history.csv", target / "checkpoints")
    pretrain.MODES[params.mode]().run(params, read, outputs, tracker=tracker)
    return outputs.model


def first_validation_loss(model: Path) -> float:
    with (model.parent / "history.csv").open(newline="") as file:
        return float(next(csv.DictReader(file))["validation_loss"])


def test_new_rows_are_learnt_sooner_from_the_champion_with_its_tokenizer(project: Path, tmp_path: Path) -> None:
    with stage_run(project, "documents", "preprocess") as run:
        read = prepare(tmp_path, {"text": NEW}, documents(tokenizer="champion"), tracker=run)
    theirs = project / "old" / "preprocess" / "predictor" / "tokenizer.json"
    assert (read.predictor / "tokenizer.json").read_bytes() == theirs.read_bytes()
    with stage_run(project, "documents", "pretrain") as run:
        again = train(tmp_path, read, source="champion", tracker=run)
    scratch = train(tmp_path, read, source=None, tracker=NullTracker())
    assert first_validation_loss(again) < first_validation_loss(scratch)


def test_a_tokenizer_of_the_same_size_that_is_not_the_champion_s_is_refused(project: Path, tmp_path: Path) -> None:
    read = prepare(tmp_path, {"text": NEW}, documents(), tracker=NullTracker())
    ours, theirs = (
        Tokenizer.from_file(str(folder / "preprocess" / "predictor" / "tokenizer.json")).get_vocab()
        for folder in (tmp_path, project / "old")
    )
    assert len(ours) == len(theirs)
    assert ours != theirs
    with (
        stage_run(project, "documents", "pretrain") as run,
        pytest.raises(SourceError, match=r"not the one that preprocess used .* let preprocess.tokenizer and pretrain"),
    ):
        train(tmp_path, read, source="champion", tracker=run)


@pytest.fixture(scope="module")
def reviews(project: Path) -> Path:
    """The classifier behind the champion of `reviews`, as finetune leaves it."""
    encoder = make_tiny_encoder(project / "encoder", [text for text, _ in tiny_rows(300)])
    model = classifier_from_encoder(encoder, labels=("negative", "positive"), dropout=0.0)
    save(model, project / "classifier", family="encoder", settings=None, facts=Facts(num_labels=2, context=32))
    (project / "classifier" / "tokenizer.json").write_bytes((encoder / "tokenizer.json").read_bytes())
    register(project, "reviews", project / "classifier")
    return project / "classifier"


def test_an_encoder_is_taken_from_behind_the_champion_with_its_tokenizer(
    project: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {
        "task": "text_classification", "unicode": "NFC", "mask": [], "conflicts": "remove", "max_tokens": 32,
        "near_duplicates": DOCUMENTS["near_duplicates"], "split": DOCUMENTS["split"], "tokenizer": "champion",
        "max_unknown_share": 0.0,
    }  # fmt: skip
    texts, labels = (list(column) for column in zip(*tiny_rows(300)[200:], strict=True))
    params = TextClassificationData.model_validate(settings, strict=False)
    with stage_run(project, "reviews", "preprocess") as run:
        read = prepare(tmp_path, {"text": texts, "label": labels}, params, tracker=run)
    with stage_run(project, "reviews", "pretrain") as run:
        loading = Load.model_validate({"mode": "load", "source": "champion"})
        model = pretrained(tmp_path / "load", loading, read, tracker=run)
    assert (model / "tokenizer.json").read_bytes() == (reviews / "tokenizer.json").read_bytes()
    whole, encoder = load(reviews).state_dict(), load_file(model / "model.safetensors")
    assert encoder
    assert all(whole[f"hosted.bert.{name}"].equal(value) for name, value in encoder.items())


def test_labels_of_new_rows_are_learnt_sooner_from_the_champion(project: Path, tmp_path: Path) -> None:
    read = array_inputs(tmp_path / "rows")
    old = fitted(tmp_path / "old", read, source=None, tracker=NullTracker())
    register(project, "pictures", old.model)
    with stage_run(project, "pictures", "finetune") as run:
        again = fitted(tmp_path / "again", read, source="champion", tracker=run)
    assert first_validation_loss(again.model) < first_validation_loss(old.model) / 2
    assert not (again.checkpoints / "source").exists()
    with (
        stage_run(project, "none yet", "finetune") as run,
        pytest.raises(InputError, match=r"^finetune.source is 'cha"),
    ):
        fitted(tmp_path / "none", read, source="champion", tracker=run)


def fitted(folder: Path, read: finetune.Inputs, *, source: str | None, tracker: Tracker) -> finetune.Outputs:
    """Run finetune in the mode `train`; gives where it wrote."""
    outputs = outputs_in(folder)
    train_on_labels(of_its_own(source=source), read, outputs, tracker=tracker)
    return outputs


class Champion(NullTracker):
    """A registry whose champion lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def champion_weights(self, folder: Path) -> Path:
        return self.folder


def test_a_champion_without_a_tokenizer_can_lend_neither_tokens_nor_weights(project: Path, tmp_path: Path) -> None:
    facts = Facts(vocab_size=300, context=16)
    save(build(GPT, facts), tmp_path / "champion", family="gpt", settings=GPT, facts=facts)
    tracker = Champion(tmp_path / "champion")
    with pytest.raises(InputError, match=r"preprocess.tokenizer is 'champion', but .* without tokenizer.json; name"):
        champion_tokenizer(tracker, tmp_path / "work")
    predictor = project / "old" / "preprocess" / "predictor"
    splits = [predictor.parent / f"{name}.parquet" for name in ("train", "validation", "unlabelled")]
    with pytest.raises(SourceError, match=r"no tokenizer.json, so nothing tells .* those of preprocess.tokenizer"):
        train(tmp_path, pretrain.Inputs(*splits, predictor, tmp_path), source="champion", tracker=tracker)


def test_an_encoder_cannot_be_loaded_from_a_champion_of_another_family(project: Path, tmp_path: Path) -> None:
    predictor = project / "old" / "preprocess" / "predictor"
    read = pretrain.Inputs(tmp_path, tmp_path, tmp_path, predictor, tmp_path)
    loading = Load.model_validate({"mode": "load", "source": "champion"})
    tracker = Champion(project / "old" / "from None" / "model")
    with pytest.raises(InputError, match=r"'load' takes an encoder, but the champion is of the family 'gpt'"):
        pretrained(tmp_path / "load", loading, read, tracker=tracker)


def test_weights_of_the_champion_are_loaded_as_they_were_saved(project: Path, tmp_path: Path) -> None:
    with stage_run(project, "documents", "pretrain") as run:
        folder = champion_folder(run, tmp_path / "source", setting="pretrain.source")
    registered = project / "old" / "from None" / "model"
    assert files_of(folder) == files_of(registered)
    theirs = load(folder).state_dict()
    assert all(theirs[name].equal(value) for name, value in load(registered).state_dict().items())


@pytest.mark.parametrize(
    ("ask", "setting"),
    [
        (partial(champion_folder, setting="finetune.source"), "finetune.source"),
        (champion_tokenizer, "preprocess.tokenizer"),
    ],
    ids=["weights", "tokenizer"],
)
def test_no_champion_says_what_to_do(ask: Callable[[Tracker, Path], Path], setting: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{setting} is 'champion', but no champion .* yet; run it once with"):
        ask(NullTracker(), tmp_path)
