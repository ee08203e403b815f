import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, pipeline

from components.models.encoder.network import EncoderForMasking, build, classifier_from_encoder
from components.models.facts import Facts, read_facts
from components.models.storage import load
from components.objectives.masked import (
    HIDDEN_STEP,
    NOT_COUNTED,
    Tokens,
    disguised,
    masked,
    prepare,
    read_tokens,
    spans,
)
from components.params import Masked, PretrainFromData, TrainedTokenizer
from components.params.families.encoder import EncoderSettings
from components.plumbing.artifacts import files_of, write_json
from components.plumbing.errors import InputError
from components.preprocess.tokenizer_training import train_tokenizer
from components.pretrain import Inputs, Outputs
from components.pretrain.train import run
from components.tracking.tracker import NullTracker
from components.training.batches import Rows, collate
from components.training.loop import train
from components.training.objective import Data, Objective
from components.training.plan import plan_of
from tests.optimizers import optimizers_of
from tests.tiny import make_tiny_tokenizer

SETTINGS: dict[str, Any] = {
    "mode": "train",
    "source": None,
    "model": {
        "family": "encoder", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64,
        "dropout": 0.1,
    },
    "objective": {"name": "masked", "share": 0.2, "mean_span": 2.0},
    "seed": 0,
    "epochs": 2,
    "steps_per_epoch": 10,
    "batch_size": 8,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.01, "betas": [0.9, 0.99]},
    "schedule": {"name": "one_cycle", "warmup_share": 0.2},
    "clip": {"by": "norm", "limit": 1.0},
    "early_stopping": None,
}  # fmt: skip
TOKENS = Tokens(mask_id=4, is_special=np.arange(50) < 5, ordinary=np.arange(5, 50))


def tiny_texts(n: int) -> list[str]:
    """Each says one letter again and again, so that a hidden one follows from the others."""
    rng = random.Random(0)
    return [" ".join([chr(97 + number % 26)] * rng.randint(8, 20)) for number in range(n)]


def write_texts(path: Path, texts: list[str], vocabulary: dict[str, int], *, first: int) -> None:
    ids = [[2, *(vocabulary[letter] for letter in text.split()), 3] for text in texts]
    columns = {
        "row": pa.array(range(first, first + len(texts)), pa.int64()),
        "label_id": pa.array([None] * len(texts), pa.int32()),
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("texts")
    texts = tiny_texts(60)
    predictor = folder / "predictor"
    predictor.mkdir()
    vocab_size = make_tiny_tokenizer(predictor / "tokenizer.json", texts, vocab_size=100)
    vocabulary = {chr(97 + number): number + 5 for number in range(26)}
    write_json(
        predictor / "predictor.json",
        {
            "task": "text_classification",
            "labels": ["negative", "positive"],
            "max_tokens": 32,
            "pad_token_id": 0,
            "vocab_size": vocab_size,
        },
    )
    write_texts(folder / "train.parquet", texts[:30], vocabulary, first=0)
    write_texts(folder / "unlabelled.parquet", texts[30:50], vocabulary, first=100)
    write_texts(folder / "validation.parquet", texts[50:], vocabulary, first=200)
    return Data(folder / "train.parquet", folder / "validation.parquet", folder / "unlabelled.parquet", predictor)


def prepared(data: Data, **changes: Any) -> tuple[Objective, PretrainFromData]:
    params = PretrainFromData.model_validate(SETTINGS | changes, strict=False)
    facts = read_facts(data.predictor)
    torch.manual_seed(0)
    settings = params.model
    model = build(settings, facts) if isinstance(settings, EncoderSettings) else nn.Linear(1, 1)
    objective = prepare(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=torch.device("cpu"), precision="fp32"
    )
    return objective, params


def trained_with(objective: Objective, params: PretrainFromData, folder: Path) -> tuple[dict[str, Tensor], Any]:
    model = objective.model
    assert model is not None
    position = train(
        model, plan_of(params, objective, "fp32"), objective, optimizers_of(params, objective), checkpoints=folder,
        tracker=NullTracker(), title="test",
    )  # fmt: skip
    return model.state_dict(), position


@given(
    num_tokens=st.integers(1, 200), share=st.floats(0.01, 0.99), mean_span=st.floats(1, 12), seed=st.integers(0, 999)
)
def test_spans_hide_the_share_and_at_least_one_token(
    num_tokens: int, share: float, mean_span: float, seed: int
) -> None:
    hidden = spans(num_tokens, share=share, mean_span=mean_span, random=np.random.default_rng(seed))
    assert hidden.shape == (num_tokens,)
    assert hidden.sum() == max(1, round(share * num_tokens))


def test_spans_have_the_mean_length_and_lie_anywhere() -> None:
    draw = np.random.default_rng(0)
    drawn = np.array([spans(400, share=0.1, mean_span=3.0, random=draw) for _ in range(400)])
    starts = (np.diff(drawn.astype(int), axis=1, prepend=0) == 1).sum()
    # a cut last span shortens the mean, and two spans that touch lengthen it
    assert 2.8 < drawn.sum() / starts < 3.4
    single = np.array([spans(400, share=0.1, mean_span=1.0, random=draw) for _ in range(400)])
    assert 1.0 <= single.sum() / (np.diff(single.astype(int), axis=1, prepend=0) == 1).sum() < 1.2
    tenths = drawn.reshape(400, 10, 40).mean(axis=(0, 2))
    np.testing.assert_allclose(tenths, 0.1, atol=0.02)
    ends = np.array([spans(10, share=0.3, mean_span=3.0, random=draw) for _ in range(2000)]).mean(axis=0)
    np.testing.assert_allclose(ends, 0.3, atol=0.05)


def test_only_ordinary_tokens_are_hidden_and_the_others_stay() -> None:
    lengths = np.random.default_rng(1).integers(3, 40, 64)
    ids = [np.array([2, *np.random.default_rng(n).integers(1, 50, n - 2), 3], np.int32) for n in lengths]
    batch = collate(Rows(np.arange(64), ids, np.zeros(64, int)), np.arange(64), pad_token_id=0)
    hidden = masked(batch, TOKENS, Masked(name="masked", share=0.3, mean_span=2.0), random=np.random.default_rng(0))
    original, shown = batch.input_ids.ravel(), hidden.input_ids.ravel()
    counted = hidden.target != NOT_COUNTED
    position, target = hidden.position[counted], hidden.target[counted]
    assert len(hidden.target) % HIDDEN_STEP == 0, "few lengths, for the sake of speed"
    assert len(position.unique()) == len(position) > len(hidden.target) - HIDDEN_STEP
    assert torch.equal(original[position], target)
    assert int(target.min()) >= 5, "no special token is to be guessed"
    rest = torch.ones(len(original), dtype=torch.bool)
    rest[position] = False
    assert torch.equal(original[rest], shown[rest])
    assert hidden.num_units == sum(lengths)
    ordinary = sum(int((row >= 5).sum()) for row in ids)
    assert len(target) == pytest.approx(0.3 * ordinary, rel=0.03)


def test_hidden_tokens_become_the_mask_another_or_stay() -> None:
    target = np.full(40_000, 7)
    shown = disguised(target, TOKENS, random=np.random.default_rng(0))
    assert (shown == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown == 7).mean() == pytest.approx(0.1 + 0.1 / 45, abs=0.01)
    others = shown[(shown != 4) & (shown != 7)]
    assert set(others.tolist()) == set(range(5, 50)) - {7}


def test_logits_equal_those_of_transformers() -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    reference = BertForMaskedLM(config).eval()
    ours = EncoderForMasking(reference).eval()
    head: Any = reference.cls.predictions
    with torch.no_grad():
        head.bias.normal_()
    ids, mask = torch.randint(0, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    position = torch.tensor([0, 4, 11, 20])
    with torch.no_grad():
        expected = reference(input_ids=ids, attention_mask=mask).logits.flatten(0, 1)[position]
        torch.testing.assert_close(ours(ids, mask, position), expected, rtol=1e-5, atol=1e-5)


def test_texts_of_the_training_split_and_without_a_label_are_read(data: Data) -> None:
    objective, _ = prepared(data, steps_per_epoch=None)
    rows = sorted(int(row) for batch in objective.batches(0, 0) for row in batch.row)
    assert rows == [*range(30), *range(100, 120)]
    assert objective.num_steps_per_epoch == 7


def test_tokens_are_hidden_anew_each_epoch_and_alike_after_a_restart(data: Data) -> None:
    objective, _ = prepared(data)
    first, again, later = (list(objective.batches(epoch, start)) for epoch, start in ((0, 0), (0, 4), (1, 0)))
    for one, other in zip(first[4:], again, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.position, other.position)
    hidden = {(int(row), tuple(batch.position.tolist())) for batch in first for row in batch.row}
    assert not hidden & {(int(row), tuple(batch.position.tolist())) for batch in later for row in batch.row}


def test_it_learns_what_follows_from_the_rest_of_the_text(data: Data, tmp_path: Path) -> None:
    objective, params = prepared(data, steps_per_epoch=120)
    assert objective.model is not None
    before = objective.validate(objective.model)
    assert before == objective.validate(objective.model), "the same tokens are hidden each time"
    _, position = trained_with(objective, params, tmp_path)
    figures = position.history[-1]
    assert before["validation_accuracy"] < 0.2
    assert figures["validation_accuracy"] > 0.6
    assert figures["validation_loss"] < before["validation_loss"] / 2


def test_what_is_kept_opens_in_transformers_and_for_finetuning(data: Data, tmp_path: Path) -> None:
    params = PretrainFromData.model_validate(SETTINGS, strict=False)
    folders: list[Path] = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        outputs = Outputs(folder / "model", folder / "history.csv", folder / "checkpoints")
        assert data.unlabelled is not None
        inputs = Inputs(data.train, data.validation, data.unlabelled, data.predictor, tmp_path)
        report = run(params, inputs, outputs, tracker=NullTracker())
        folders.append(outputs.model)
    assert files_of(folders[0]) == files_of(folders[1])
    assert sorted(files_of(folders[0])) == [
        "README.md", "config.json", "family.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    kept = load(folders[0])
    assert report.num_parameters == sum(p.numel() for p in kept.parameters())
    assert isinstance(kept, EncoderForMasking)
    whole, info = AutoModelForMaskedLM.from_pretrained(folders[0], output_loading_info=True)
    assert not any(info.values())
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    (row,) = tokenizer(["a tiny text"])["input_ids"]
    ids = torch.tensor([row])
    with torch.inference_mode():
        guessed = kept(ids, torch.ones_like(ids), torch.tensor([1]))
        torch.testing.assert_close(whole(ids).logits[0, 1:2], guessed)
    answers = pipeline("fill-mask", str(folders[0]))(f"a {tokenizer.mask_token} text")
    assert len(answers) == 5
    hosted = AutoModel.from_pretrained(folders[0], add_pooling_layer=False)
    classifier = classifier_from_encoder(folders[0], labels=("negative", "positive"), dropout=0.0)
    for name, value in kept.encoder.state_dict().items():
        assert torch.equal(value, hosted.state_dict()[name])
        assert torch.equal(value, classifier.encoder.state_dict()[name])
    assert not torch.equal(kept.encoder.state_dict()["embeddings.word_embeddings.weight"], build_again(params, data))


def build_again(params: PretrainFromData, data: Data) -> Tensor:
    """The table of an untrained encoder of the same seed."""
    torch.manual_seed(params.seed)
    assert isinstance(params.model, EncoderSettings)
    return build(params.model, read_facts(data.predictor)).encoder.state_dict()["embeddings.word_embeddings.weight"]


def test_special_tokens_are_those_that_the_tokenizer_adds(data: Data) -> None:
    tokens = read_tokens(data.predictor / "tokenizer.json")
    assert tokens.mask_id == 4
    assert np.flatnonzero(tokens.is_special).tolist() == [0, 1, 2, 3, 4]
    assert all(a + 1 == b for a, b in pairwise(tokens.ordinary.tolist()))


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    params = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=300, lowercase=False)
    train_tokenizer(tiny_texts(60) + ["the theatre there, then the thunder"] * 20, params.model_copy(
        update={"vocab_size": 265}), path=tmp_path / "tokenizer.json")  # fmt: skip
    with pytest.raises(InputError, match=r"has none of the tokens \[MASK\], <mask>.*algorithm 'wordpiece'"):
        read_tokens(tmp_path / "tokenizer.json")


def test_a_family_that_is_no_encoder_is_refused(data: Data) -> None:
    mlp = {"family": "lstm", "embedding_size": 8, "hidden_size": 8, "num_layers": 1, "dropout": 0.0}
    with pytest.raises(InputError, match=r"'masked', which trains an encoder, but pretrain.model.family is 'lstm'"):
        prepared(data, model=mlp)


def test_texts_without_a_known_token_are_refused(data: Data, tmp_path: Path) -> None:
    table = pq.read_table(data.validation)
    unknown = pa.array([[2, 1, 3]] * len(table), pa.list_(pa.int32()))
    pq.write_table(table.set_column(2, "input_ids", unknown), tmp_path / "validation.parquet")
    empty = Data(data.train, tmp_path / "validation.parquet", None, data.predictor)
    with pytest.raises(InputError, match="none of the 10 texts of the validation split has a token that"):
        prepared(empty)


def test_facts_make_the_encoder(data: Data) -> None:
    params = PretrainFromData.model_validate(SETTINGS, strict=False)
    assert isinstance(params.model, EncoderSettings)
    model: Any = build(params.model, Facts(vocab_size=70, context=24, pad_token_id=1)).encoder
    assert model.embeddings.word_embeddings.weight.shape == (70, 32)
    assert model.embeddings.position_embeddings.weight.shape == (24, 32)
    assert model.config.pad_token_id == 1
