import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.params import FileSource, NearDuplicates, Split, TextClassificationData, TrainedTokenizer
from components.plumbing.artifacts import artifact_names, files_of, write_json
from components.plumbing.errors import InputError, ModelyardError, SourceError, UnknownTokensError
from components.preprocess import Inputs, Outputs, run
from components.tasks import task_of
from components.tasks.text_classification.preprocess import Report
from components.tracking.tracker import NullTracker
from serving.predictors.text import clean
from serving.tasks.text_classification.predictor import Predictor, load_settings, load_tokenizer
from tests.tiny import make_tiny_encoder, tiny_rows

ROWS = tiny_rows(300)
LABELS = ["negative", "positive"]
PREPARE = task_of("text_classification").preprocess
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"), [text for text, _ in ROWS])


@pytest.fixture
def params(encoder: Path) -> TextClassificationData:
    return TextClassificationData(
        task="text_classification",
        unicode="NFKC",
        mask=("email", "phone"),
        conflicts="remove",
        near_duplicates=NearDuplicates(threshold=0.8, shingle_size=5, num_permutations=128),
        split=Split(validation=0.1, test=0.2, seed=0, group=None),
        tokenizer=FileSource(kind="file", path=str(encoder)),
        max_tokens=32,
        max_unknown_share=0.05,
    )


def preprocess(
    folder: Path,
    params: TextClassificationData,
    rows: Sequence[tuple[str | None, str | None]],
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Report, Outputs]:
    """Run the stage on rows (text, label) and further columns."""
    work = folder / "work"
    target = work / "artifact"
    target.mkdir(parents=True)
    (work / "observations").mkdir()
    texts, labels = (list(column) for column in zip(*rows, strict=True))
    table = pa.table({"text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string()), **(columns or {})})
    pq.write_table(table, work / "data.parquet")
    write_json(work / "verdict.json", {"labels": LABELS})
    places = [target / name for name in artifact_names(Outputs)]
    outputs = Outputs(*places, work=work / "fetched", observations=work / "observations")
    report = run(
        params,
        Inputs(work / "data.parquet", work / "verdict.json", folder),
        outputs,
        tracker=NullTracker(),
        prepare=PREPARE,
    )
    return report, outputs


def read(outputs: Outputs) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(getattr(outputs, name)).to_pylist() for name in SPLITS}


def test_every_row_is_accounted_for(tmp_path: Path, params: TextClassificationData) -> None:
    extra: list[tuple[str | None, str | None]] = [
        (None, "negative"), ("a label is missing here", None), (" \n\u200b ", "positive"),
        (ROWS[0][0], ROWS[0][1]), (ROWS[1][0] + "!", ROWS[1][1]), (ROWS[2][0], "positive"),
    ]  # fmt: skip
    report, outputs = preprocess(tmp_path, params, [*ROWS, *extra])
    assert ROWS[2][1] == "negative"
    assert (report.num_rows_in, report.num_unlabelled, report.num_null, report.num_empty) == (306, 1, 1, 1)
    assert (report.num_duplicates, report.num_near_duplicates) == (1, 1)
    assert (report.num_conflicting, report.num_conflicting_texts, report.num_outvoted) == (2, 1, 0)
    assert report.num_rows_out == 299 == report.num_train + report.num_validation + report.num_test
    assert (report.class_rows_min, report.class_rows_max, report.num_classes) == (149, 150, 2)
    removed = pq.read_table(outputs.observations / "removed.parquet").to_pylist()
    assert {(row["row"], row["reason"], row["same_as_row"]) for row in removed} == {
        (2, "conflicting", 2), (305, "conflicting", 2), (303, "duplicate", 0), (304, "near-duplicate", 1),
    }  # fmt: skip


def test_rows_keep_their_number_order_and_label(tmp_path: Path, params: TextClassificationData) -> None:
    report, outputs = preprocess(tmp_path, params, ROWS)
    splits = read(outputs)
    assert [len(splits[name]) for name in SPLITS] == [report.num_train, report.num_validation, report.num_test]
    assert [len(splits[name]) for name in SPLITS] == [210, 30, 60]
    everything = [row for name in SPLITS for row in splits[name]]
    assert sorted(row["row"] for row in everything) == list(range(300))
    for name in SPLITS:
        numbers = [row["row"] for row in splits[name]]
        assert numbers == sorted(numbers)
    for row in everything:
        assert (row["text"], row["label"]) == ROWS[row["row"]]
        assert row["label"] == LABELS[row["label_id"]]


def test_columns_have_the_agreed_types(tmp_path: Path, params: TextClassificationData) -> None:
    _, outputs = preprocess(tmp_path, params, ROWS)
    schema = pq.read_schema(outputs.train)
    assert [(field.name, str(field.type)) for field in schema] == [
        ("row", "int64"), ("text", "string"), ("label", "string"), ("label_id", "int32"),
        ("input_ids", "list<element: int32>"),
    ]  # fmt: skip
    assert b"pandas" not in (schema.metadata or {})


def test_texts_are_tokenized_as_the_predictor_does(tmp_path: Path, params: TextClassificationData) -> None:
    dirty = [(f"  {text} [SEP] \u00a0mail\tjoe{number}@x.com ", label) for number, (text, label) in enumerate(ROWS)]
    report, outputs = preprocess(tmp_path, params.model_copy(update={"max_unknown_share": 1.0}), dirty)
    settings = load_settings(outputs.predictor / "predictor.json")
    assert (settings.labels, settings.max_tokens, settings.pad_token_id) == (tuple(LABELS), 32, 0)
    assert (settings.unicode, settings.mask) == ("NFKC", ("email", "phone"))
    tokenizer = load_tokenizer(outputs.predictor / "tokenizer.json", settings)
    for row in read(outputs)["train"]:
        text = dirty[row["row"]][0]
        assert row["text"] == clean(text, unicode=settings.unicode, mask=settings.mask)
        assert row["text"].endswith(" mail [EMAIL]")
        assert row["input_ids"] == tokenizer.encode(row["text"]).ids
        assert row["input_ids"].count(tokenizer.token_to_id("[SEP]")) == 1
    assert report.num_masked == 300


@pytest.mark.parametrize("truncate", ["head", "tail", "head_tail"])
def test_the_part_that_is_read_is_the_same_in_training_and_serving(
    tmp_path: Path, params: TextClassificationData, truncate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    long = [(f"{text} \u2764\ufe0f\u2764 {' '.join([text] * 40)} {text[::-1]} dull", label) for text, label in ROWS]
    rows = [*ROWS, *long] if truncate == "tail" else long
    changed = params.model_copy(update={"truncate": truncate, "emoji": "names", "max_unknown_share": 1.0})
    report, outputs = preprocess(tmp_path, changed, rows)
    settings = load_settings(outputs.predictor / "predictor.json")
    assert (settings.truncate, settings.emoji) == (truncate, "names")
    tokenizer = load_tokenizer(outputs.predictor / "tokenizer.json", settings)
    predictor = Predictor(
        tokenizer=tokenizer, settings=settings, forward=lambda *_: np.zeros((1, 2)), batch_size=1, threads=1
    )
    whole = load_tokenizer(outputs.predictor / "tokenizer.json", settings)
    whole.no_truncation()
    for row in read(outputs)["test"]:
        (ids,) = predictor.encode([rows[row["row"]][0]])
        assert row["input_ids"] == ids
        text = clean(rows[row["row"]][0], unicode="NFKC", mask=(), emoji="names")
        every = whole.encode(text).ids
        parts = {
            "head": every[:31] + every[-1:],
            "tail": every[:1] + every[-31:],
            "head_tail": every[:16] + every[-16:],
        }
        assert ids == (parts[truncate] if len(every) > 32 else every)
        assert "heavy black heart" in text or len(every) <= 32
    assert report.truncated_share == (0.5 if truncate == "tail" else 1.0)
    assert f"{100 * report.truncated_share:.0f}% of the texts have more than 32 tokens" in caplog.text


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, params: TextClassificationData) -> None:
    first, second = (preprocess(tmp_path / name, params, ROWS)[1].train.parent for name in ("a", "b"))
    assert files_of(first) == files_of(second)
    splits = [f"{name}.parquet" for name in (*SPLITS, "unlabelled")]
    assert sorted(files_of(first)) == sorted([*splits, "predictor/predictor.json", "predictor/tokenizer.json"])


def test_tokenizer_json_is_a_plain_copy(tmp_path: Path, params: TextClassificationData, encoder: Path) -> None:
    _, outputs = preprocess(tmp_path, params, ROWS)
    assert (outputs.predictor / "tokenizer.json").read_bytes() == (encoder / "tokenizer.json").read_bytes()


def test_settings_in_tokenizer_json_neither_pad_nor_cut(
    tmp_path: Path, params: TextClassificationData, encoder: Path
) -> None:
    raw = json.loads((encoder / "tokenizer.json").read_text())
    raw["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    raw["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
        "pad_token": "[SEP]",
    }  # fmt: skip
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(raw))
    source = FileSource(kind="file", path=str(other))
    report, outputs = preprocess(tmp_path, params.model_copy(update={"tokenizer": source}), ROWS)
    assert 4 < report.tokens_max < 32
    assert load_settings(outputs.predictor / "predictor.json").pad_token_id == 3


def test_long_texts_are_cut_and_counted(tmp_path: Path, params: TextClassificationData) -> None:
    long = [(" ".join([text] * 4), label) for text, label in ROWS]
    report, outputs = preprocess(tmp_path, params.model_copy(update={"max_tokens": 16}), long)
    assert report.tokens_max == 16
    assert report.truncated_share == 1.0
    assert all(len(row["input_ids"]) == 16 and row["input_ids"][-1] == 3 for row in read(outputs)["test"])


def test_figures_of_tokens_are_those_of_all_splits(tmp_path: Path, params: TextClassificationData) -> None:
    report, outputs = preprocess(tmp_path, params, ROWS)
    ids = [row["input_ids"] for rows in read(outputs).values() for row in rows]
    lengths = [len(row) for row in ids]
    assert report.tokens_max == max(lengths)
    assert report.tokens_p50 == np.percentile(lengths, 50)
    assert report.unknown_share == 0
    known = [*ROWS, *[(f"\u8c22 \u8c22 \u8c22 \u8c22 {text}", label) for text, label in tiny_rows(310)[300:]]]
    report, outputs = preprocess(tmp_path / "unknown", params, known)
    ids = [row["input_ids"] for rows in read(outputs).values() for row in rows]
    unknown = sum(row.count(1) for row in ids)
    assert unknown == 40
    assert report.unknown_share == pytest.approx(unknown / sum(len(row) - 2 for row in ids), abs=1e-6)


def test_a_text_of_ten_megabytes_is_taken_and_cut(tmp_path: Path, params: TextClassificationData) -> None:
    vast = "great film and lovely music " * 400_000
    report, outputs = preprocess(tmp_path, params, [*ROWS, (vast, "positive")])
    assert report.num_cut == 1
    assert report.num_rows_out == 301
    stored = next(row for rows in read(outputs).values() for row in rows if row["row"] == 300)
    assert vast.startswith(stored["text"])
    assert 1_000 < len(stored["text"]) <= 32 * 128
    assert len(stored["input_ids"]) == 32


def test_a_tokenizer_of_another_script_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    chinese = [("".join(chr(0x4E00 + 7 * ord(letter)) for letter in text), label) for text, label in ROWS]
    with pytest.raises(
        UnknownTokensError, match=r"does not know 100\.0% of the tokens .* is 5\.0%.* train both on these rows"
    ):
        preprocess(tmp_path, params, chinese)


def test_masks_that_leave_nothing_of_the_texts_are_named(tmp_path: Path, params: TextClassificationData) -> None:
    rows = [(f"+1 415 555 {number:04d}!", label) for number, (_, label) in enumerate(ROWS)]
    told = r"preprocess.mask made 300 of 300 texts alike, .*; take 'phone' out of it \(too small to stratify"
    with pytest.raises(InputError, match=told):
        preprocess(tmp_path, params, rows)


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        (
            " fine\U0001f602",
            r"symbols: '\U0001f602'; the model reads all of them as one: set max_unknown_share to 0\.\d",
        ),
        (" " + "a" * 101, r"words of more than a hundred characters: .*regexp_replace\(text, '\\S\{101,\}', ' ', "),
    ],
)
def test_what_the_tokenizer_lacks_is_told(tmp_path: Path, params: TextClassificationData, tail: str, told: str) -> None:
    with pytest.raises(UnknownTokensError, match=told):
        preprocess(tmp_path, params, [(text + tail, label) for text, label in ROWS])


def test_a_group_is_never_in_two_splits(tmp_path: Path, params: TextClassificationData) -> None:
    split = Split(validation=0.1, test=0.2, seed=0, group="customer")
    customers = [f"customer {n * n % 47}" for n in range(300)]
    report, outputs = preprocess(
        tmp_path, params.model_copy(update={"split": split}), ROWS, columns={"customer": customers}
    )
    seen = {name: {customers[row["row"]] for row in rows} for name, rows in read(outputs).items()}
    assert all(seen.values())
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    assert report.num_rows_out == 300


def test_a_group_column_that_is_not_there_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    split = Split(validation=0.1, test=0.2, seed=0, group="custmer")
    with pytest.raises(InputError, match=r"split.group is 'custmer', .* \(did you mean 'customer'\?\)"):
        preprocess(tmp_path, params.model_copy(update={"split": split}), ROWS, columns={"customer": ["a"] * 300})


def test_a_row_without_a_group_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    split = Split(validation=0.1, test=0.2, seed=0, group="customer")
    with pytest.raises(InputError, match=r"1 rows have no group"):
        preprocess(
            tmp_path, params.model_copy(update={"split": split}), ROWS, columns={"customer": ["a"] * 299 + [None]}
        )


def test_a_class_too_small_to_split_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    few = [row for number, row in enumerate(ROWS) if row[1] == "negative" or number < 4]
    with pytest.raises(InputError, match=r"too small to stratify: .*'positive' has 2 rows.* needs 5"):
        preprocess(tmp_path, params, few)


def test_a_label_beyond_the_contract_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    with pytest.raises(InputError, match=r"labels that the contract does not allow: 'Positive'; it allows 'negative'"):
        preprocess(tmp_path, params, [*ROWS, ("some other text", "Positive")])


def test_rows_without_any_text_are_refused(tmp_path: Path, params: TextClassificationData) -> None:
    with pytest.raises(InputError, match=r"no row of 3 has both a text and a label"):
        preprocess(tmp_path, params, [(" ", "positive"), ("\n", "negative"), (None, "negative")])


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("a")
    source = FileSource(kind="file", path=str(other))
    with pytest.raises(SourceError, match=r"no tokenizer.json; it holds 'vocab.txt'"):
        preprocess(tmp_path, params.model_copy(update={"tokenizer": source}), ROWS)


def test_a_broken_tokenizer_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text("{}")
    source = FileSource(kind="file", path=str(other))
    with pytest.raises(SourceError, match=r"tokenizer.json cannot be read"):
        preprocess(tmp_path, params.model_copy(update={"tokenizer": source}), ROWS)


def test_more_tokens_than_the_encoder_takes_are_refused(tmp_path: Path, params: TextClassificationData) -> None:
    with pytest.raises(InputError, match=r"max_tokens is 256, but the encoder takes 128"):
        preprocess(tmp_path, params.model_copy(update={"max_tokens": 256}), ROWS)


def test_a_failed_gate_names_the_leak(
    tmp_path: Path, params: TextClassificationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.plumbing.errors import LeakageError
    from components.tasks.text_classification import preprocess as stage

    # The split is made to put every row of test into train as well.
    divided = stage.divided
    monkeypatch.setattr(
        stage,
        "divided",
        lambda *args, **named: (found := divided(*args, **named)) | {"train": pa.concat_tables(found.values())},
    )
    with pytest.raises(LeakageError, match=r"90 texts of one split come again in another"):
        preprocess(tmp_path, params, ROWS)


def test_inputs_may_lie_anywhere(tmp_path: Path, params: TextClassificationData, encoder: Path) -> None:
    source = FileSource(kind="file", path=encoder.name)
    inputs_of_project = params.model_copy(update={"tokenizer": source})
    report, outputs = preprocess(tmp_path / "a", params, ROWS)
    work = tmp_path / "a" / "work"
    inputs = Inputs(work / "data.parquet", work / "verdict.json", encoder.parent)
    again = replace(outputs, predictor=tmp_path / "predictor")
    assert run(inputs_of_project, inputs, again, tracker=NullTracker(), prepare=PREPARE) == report


def test_the_leak_of_the_raw_rows_is_told(tmp_path: Path, params: TextClassificationData) -> None:
    once, _ = preprocess(tmp_path / "once", params, ROWS)
    assert once.raw_leak_share == 0
    thrice, _ = preprocess(tmp_path / "thrice", params, [*ROWS, *ROWS, *[(text + "!", label) for text, label in ROWS]])
    assert thrice.num_rows_out == 300
    assert 0.8 < thrice.raw_leak_share <= 1  # each of the other two is in train with a chance of 0.7


GIVEN = Split(validation=0.2, test=None, seed=0, group=None, column="part")


def given(params: TextClassificationData, **words: Any) -> TextClassificationData:
    return params.model_copy(update={"split": GIVEN.model_copy(update=words)})


def test_given_test_rows_stay_and_what_repeats_them_is_left_out_of_training(
    tmp_path: Path, params: TextClassificationData
) -> None:
    held = ROWS[:60]
    held += [(held[0][0] + " x", held[0][1]), held[1], (held[2][0], "positive")]  # near, twice, with another label
    assert held[2][1] == "negative"
    leaking = [(held[0][0] + " x!", held[0][1]), (held[1][0], "positive"), (held[3][0], held[3][1])]
    train = [*ROWS[60:200], *leaking, ROWS[60], (ROWS[61][0] + "!", ROWS[61][1])]
    unlabelled = [(held[0][0] + " x?", None), (ROWS[250][0], None)]
    rows: list[tuple[str | None, str | None]] = [*train, *held, *unlabelled]
    parts = ["train"] * len(train) + ["test"] * len(held) + [None] * len(unlabelled)
    report, outputs = preprocess(tmp_path, given(params), rows, columns={"part": parts})
    splits = read(outputs)
    assert [(row["text"], row["label"]) for row in splits["test"]] == held
    assert (report.num_leaking, report.num_duplicates, report.num_near_duplicates) == (3, 1, 1)
    assert report.raw_leak_share == pytest.approx(5 / 63, abs=1e-6)  # the first and the second come twice in the test
    assert (report.num_train, report.num_validation, report.num_test) == (112, 28, 63)
    assert report.num_rows_in == report.num_rows_out + 3 + 1 + 1 + 2
    trained_on = {row["text"] for name in ("train", "validation") for row in splits[name]}
    assert trained_on == {text for text, _ in ROWS[60:200]}
    assert [row["text"] for row in pq.read_table(outputs.unlabelled).to_pylist()] == [ROWS[250][0]]
    removed = pq.read_table(outputs.observations / "removed.parquet").to_pylist()
    assert {row["same_as_row"] for row in removed if row["reason"] == "leaking"} == {205, 146, 148}


def test_given_validation_rows_stay_but_for_those_of_the_test(tmp_path: Path, params: TextClassificationData) -> None:
    parts = [("train", "validation", "test")[number % 3] for number in range(300)]
    rows = [*ROWS, (ROWS[2][0], ROWS[2][1]), (ROWS[1][0], ROWS[1][1])]
    report, outputs = preprocess(
        tmp_path, given(params, validation=None), rows, columns={"part": [*parts, "validation", "train"]}
    )
    splits = read(outputs)
    for number, name in enumerate(SPLITS):
        assert [row["row"] for row in splits[name]] == list(range(number, 300, 3))
    assert report.num_leaking == 2


@pytest.mark.parametrize(
    ("parts", "words", "message"),
    [
        (("train", "dev", "test"), {}, r"'part' is 'dev' in 100 rows; .* CASE part WHEN 'dev' THEN 'validation'"),
        (("train", None, "test"), {}, "'part' is 'null' in 100 rows"),
        (("train", "train", "train"), {}, "'part' is 'test' in no row with a label"),
        (("train", "validation", "test"), {}, "set split.validation to null"),
        (("train", "train", "test"), {"validation": None}, "give split.validation the share"),
        (("train", "train", "test"), {"column": "split"}, r"split.column is 'split', which ingest.query does not give"),
        (("train", "train", "test"), {"group": "part"}, None),
        (("train", "train", "test"), {"group": "label"}, "2 groups of split.group 'label' are in two of the splits"),
    ],
)
def test_given_split_that_cannot_be_used_is_explained(
    tmp_path: Path, params: TextClassificationData, parts: tuple[str | None, ...], words: dict[str, Any],
    message: str | None,
) -> None:  # fmt: skip
    columns = {"part": [parts[number % 3] for number in range(300)]}
    with pytest.raises(ModelyardError, match=message or "too small to split by 'part'"):
        preprocess(tmp_path, given(params, **words), ROWS, columns=columns)


def test_class_that_only_the_given_test_split_has_is_refused(tmp_path: Path, params: TextClassificationData) -> None:
    parts = ["test" if label == "positive" or number % 4 == 2 else "train" for number, (_, label) in enumerate(ROWS)]
    with pytest.raises(InputError, match="the given training split has no row of 'positive'"):
        preprocess(tmp_path, given(params), ROWS, columns={"part": parts})


def test_a_tokenizer_is_trained_on_the_training_split_and_the_rows_without_a_label(
    tmp_path: Path, params: TextClassificationData
) -> None:
    trained = TrainedTokenizer(kind="train", algorithm="wordpiece", vocab_size=300, lowercase=True)
    signs = [chr(0x4E00 + number) for number in range(310)]  # a letter of its own for each row
    rows: list[tuple[str | None, str | None]] = [
        (sign + text, label) for (text, label), sign in zip(ROWS, signs, strict=False)
    ]
    rows += [(sign + text, None) for (text, _), sign in zip(tiny_rows(310)[300:], signs[300:], strict=True)]
    changed = params.model_copy(update={"tokenizer": trained, "max_unknown_share": 0.2})
    _, outputs = preprocess(tmp_path, changed, rows)
    vocabulary = load_tokenizer(
        outputs.predictor / "tokenizer.json", load_settings(outputs.predictor / "predictor.json")
    ).get_vocab()
    splits = read(outputs)
    seen = {row["text"][0] for row in splits["train"]} | set(signs[300:])
    assert {sign for sign in signs if sign in vocabulary} == seen
    assert all(1 in row["input_ids"] for row in splits["test"]), "[UNK]"


def test_rows_without_a_label_are_left_to_pretraining(tmp_path: Path, params: TextClassificationData) -> None:
    texts = [text for text, _ in tiny_rows(340)][300:]
    new: list[tuple[str | None, str | None]] = [(text, None) for text in [*texts, texts[0], ROWS[0][0] + "!"]]
    with_slice = params.model_copy(update={"slice": "domain"})
    domains = ["film", "book"] * 150 + ["news"] * 42
    report, outputs = preprocess(tmp_path, with_slice, [*ROWS, *new], columns={"domain": domains})
    unlabelled = pq.read_table(outputs.unlabelled).to_pylist()
    assert [row["text"] for row in unlabelled] == texts, "neither a copy of one, nor of a labelled row"
    assert {(row["label"], row["label_id"], row["slice"]) for row in unlabelled} == {(None, None, "news")}
    assert (report.num_unlabelled, report.num_rows_out) == (40, 300)
    assert {row["slice"] for rows in read(outputs).values() for row in rows} == {"film", "book"}
