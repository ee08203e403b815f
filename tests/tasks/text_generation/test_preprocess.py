import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from components.params import TextGenerationData, TrainedTokenizer
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError, LeakageError
from components.preprocess import stage
from components.preprocess.documents import clean_document
from components.preprocess.leakage import check_leakage
from components.preprocess.tokenizer_training import train_tokenizer
from components.tasks.text_generation.preprocess import Report
from components.tasks.text_generation.preprocess import run as prepare
from components.tracking.tracker import NullTracker
from tests.tiny import make_tiny_tokenizer
from tests.tiny_documents import tiny_documents

SETTINGS: dict[str, Any] = {
    "task": "text_generation",
    "unicode": "NFC",
    "near_duplicates": {"threshold": 0.8, "shingle_size": 5, "num_permutations": 64},
    "split": {"validation": 0.1, "test": 0.1, "seed": 0, "group": None},
    "tokenizer": {"kind": "train", "algorithm": "bpe", "vocab_size": 300, "lowercase": False},
    "context": 16,
    "max_unknown_share": 0.0,
}


def preprocess(
    folder: Path, texts: list[str | None], *, group: list[str] | None = None, **changes: Any
) -> tuple[Report, stage.Outputs]:
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {"text": pa.array(texts, pa.string())}
    pq.write_table(pa.table(columns | ({"speaker": group} if group else {})), folder / "data.parquet")
    write_json(folder / "verdict.json", {"passed": True})
    inputs = stage.Inputs(folder / "data.parquet", folder / "verdict.json", folder)
    out = folder / "out"
    out.mkdir()
    (folder / "observations").mkdir()
    names = ("train.parquet", "validation.parquet", "test.parquet", "unlabelled.parquet", "predictor")
    outputs = stage.Outputs(*(out / name for name in names), folder / "work", folder / "observations")
    params = TextGenerationData.model_validate(SETTINGS | changes, strict=False)
    return stage.run(params, inputs, outputs, tracker=NullTracker(), prepare=prepare), outputs


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, stage.Outputs, list[str]]:
    texts = tiny_documents(40)
    report, outputs = preprocess(tmp_path_factory.mktemp("made"), [*texts, texts[3], "  ", None])
    return report, outputs, texts


def test_every_document_is_in_one_split_or_counted(made: tuple[Report, stage.Outputs, list[str]]) -> None:
    report, outputs, texts = made
    splits = {name: rows(getattr(outputs, name)) for name in ("train", "validation", "test")}
    assert sorted(row["text"] for part in splits.values() for row in part) == sorted(texts)
    assert (report.num_train, report.num_validation, report.num_test) == (32, 4, 4)
    assert (report.num_rows_in, report.num_duplicates, report.num_empty, report.num_null) == (43, 1, 1, 1)
    assert all(texts[row["row"]] == row["text"] for part in splits.values() for row in part)
    removed = rows(outputs.observations / "removed.parquet")
    assert [(row["row"], row["reason"], row["same_as_row"]) for row in removed] == [(40, "duplicate", 3)]


def test_tokens_spell_the_whole_document_and_end_it(made: tuple[Report, stage.Outputs, list[str]]) -> None:
    report, outputs, _ = made
    tokenizer = Tokenizer.from_file(str(outputs.predictor / "tokenizer.json"))
    train = rows(outputs.train)
    for row in train:
        assert row["input_ids"][-1] == tokenizer.token_to_id("<|endoftext|>")
        assert tokenizer.decode(row["input_ids"][:-1]) == row["text"]
        assert row["num_bytes"] == len(row["text"].encode())
    assert report.num_train_tokens == sum(len(row["input_ids"]) for row in train)
    assert len(rows(outputs.unlabelled)) == 0
    assert pq.read_schema(outputs.unlabelled) == pq.read_schema(outputs.train)


def test_predictor_json_says_how_a_prompt_is_read(made: tuple[Report, stage.Outputs, list[str]]) -> None:
    settings = json.loads((made[1].predictor / "predictor.json").read_text())
    assert settings == {
        "task": "text_generation", "unicode": "NFC", "context": 16, "end_of_text_id": 0, "vocab_size": 300,
        "pad_token_id": 0,
    }  # fmt: skip


def test_the_tokenizer_is_trained_on_the_training_split_alone(
    made: tuple[Report, stage.Outputs, list[str]], tmp_path: Path
) -> None:
    outputs = made[1]
    params = TrainedTokenizer.model_validate(SETTINGS["tokenizer"])
    train_tokenizer([row["text"] for row in rows(outputs.train)], params, path=tmp_path / "tokenizer.json")
    assert (outputs.predictor / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_a_group_stays_in_one_split(tmp_path: Path) -> None:
    speakers = [f"speaker {number % 12}" for number in range(40)]
    texts = tiny_documents(40)
    _, outputs = preprocess(tmp_path, list(texts), group=speakers, split=SETTINGS["split"] | {"group": "speaker"})
    found = [{speakers[row["row"]] for row in rows(getattr(outputs, name))} for name in ("train", "validation", "test")]
    assert sum(map(len, found)) == len(set.union(*found)) == 12


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    texts = tiny_documents(40)
    one, other = (preprocess(tmp_path / name, list(texts))[1] for name in ("one", "two"))
    for name in ("train", "validation", "test", "unlabelled"):
        assert getattr(one, name).read_bytes() == getattr(other, name).read_bytes()


def test_near_duplicates_are_removed_before_the_split(tmp_path: Path) -> None:
    texts = tiny_documents(40)
    report, _ = preprocess(tmp_path, [*texts, texts[0] + " so", texts[1].replace("the", "one", 1)])
    assert (report.num_near_duplicates, report.num_rows_out) == (2, 40)
    with pytest.raises(LeakageError, match="come again in another"):
        check_leakage(
            {"train": pa.array(texts, pa.large_string()), "test": pa.array([texts[0] + " so"], pa.large_string())},
            TextGenerationData.model_validate(SETTINGS, strict=False).near_duplicates,
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.  \r\n\r\n\r\n\r\nTwo.\rThree.", "One.\n\nTwo.\nThree."),
        ("a\x00b\u200bc\ufeff", "a bc"),
        ("e\u0301", "é"),
        ("  Kept   spaces\tand tabs ", "Kept   spaces\tand tabs"),
        ("\u2028x", "x"),
    ],
)
def test_cleaning_keeps_paragraphs(text: str, expected: str) -> None:
    assert clean_document(text, unicode="NFC") == expected
    assert clean_document(expected, unicode="NFC") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tokenizer": SETTINGS["tokenizer"] | {"vocab_size": 50_000}},
            r"vocab_size is 50000, but the training texts support only \d+ tokens",
        ),
        ({"tokenizer": SETTINGS["tokenizer"] | {"lowercase": True}}, "lowercase is true, but texts are to be written"),
        ({"tokenizer": SETTINGS["tokenizer"] | {"algorithm": "wordpiece"}}, "has no token that ends a text"),
        ({"split": SETTINGS["split"] | {"group": "speker"}}, r"split.group is 'speker', .* does not give"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(tmp_path, list(tiny_documents(40)), **changes)


def test_a_corpus_smaller_than_one_context_is_refused(tmp_path: Path) -> None:
    message = r"the training split holds \d+ tokens, but preprocess.context is 8192, which takes 8193"
    with pytest.raises(InputError, match=message):
        preprocess(tmp_path, list(tiny_documents(12)), context=8192)


def test_too_few_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^3 documents are left after cleaning, but 5 are needed"):
        preprocess(tmp_path / "few", list(tiny_documents(3)))
    with pytest.raises(InputError, match=r"^no row of 2 has a text"):
        preprocess(tmp_path / "none", ["", None])


def test_a_tokenizer_that_loses_what_was_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    make_tiny_tokenizer(folder / "tokenizer.json", [text.lower() for text in tiny_documents(40)], vocab_size=400)
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded.add_special_tokens(["</s>"])
    loaded.save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match="does not give a document back as it was"):
        preprocess(tmp_path / "run", list(tiny_documents(40)), tokenizer={"kind": "file", "path": str(folder)})
