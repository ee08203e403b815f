import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.models.facts import Facts, read_facts
from components.models.storage import build
from components.objectives.causal import Starts, figures_of_stream, prepare, read_stream, windows_at
from components.params import PretrainFromData
from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.objective import Data, Objective
from components.training.plan import plan_of
from tests.optimizers import optimizers_of
from tests.tiny_documents import tiny_documents, write_documents_of

CONTEXT = 16
SETTINGS: dict[str, Any] = {
    "mode": "train",
    "source": None,
    "model": {"family": "gpt", "hidden_size": 32, "num_layers": 2, "num_heads": 2, "dropout": 0.0},
    "objective": {"name": "causal"},
    "seed": 0,
    "epochs": 2,
    "steps_per_epoch": 30,
    "batch_size": 8,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.01, "betas": [0.9, 0.99]},
    "schedule": {"name": "cosine", "warmup_share": 0.1},
    "clip": {"by": "norm", "limit": 1.0},
    "early_stopping": None,
}
LSTM = {"family": "lstm", "embedding_size": 32, "hidden_size": 32, "num_layers": 1, "dropout": 0.0}


class Notes(NullTracker):
    """Keeps the texts that are logged."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self.files[f"{folder}/{path.name}"] = path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("documents")
    write_documents_of(folder, tiny_documents(40), context=CONTEXT)
    return Data(folder / "train.parquet", folder / "validation.parquet", None, folder / "predictor")


def prepared(data: Data, *, tracker: NullTracker | None = None, **changes: Any) -> tuple[nn.Module, Objective, Any]:
    params = PretrainFromData.model_validate(SETTINGS | changes, strict=False)
    facts = read_facts(data.predictor)
    torch.manual_seed(0)
    model = build(params.model, facts)
    objective = prepare(
        params, model=model, facts=facts, data=data, tracker=tracker or NullTracker(), device=torch.device("cpu"),
        precision="fp32",
    )  # fmt: skip
    return model, objective, params


def test_the_stream_holds_every_document_behind_an_end_of_text(data: Data) -> None:
    end = read_json(data.predictor / "predictor.json")["end_of_text_id"]
    stream = read_stream(data.train, end_of_text_id=end)
    assert stream.tokens[0] == stream.tokens[-1] == end
    assert (stream.tokens == end).sum() == len(set(stream.row.tolist())) + 1
    assert len(stream.row) == len(stream.tokens)


def test_a_round_reads_every_token_once() -> None:
    starts = Starts(1000, context=16, seed=3)
    taken = starts.take(0, 3 * starts.num_windows).reshape(3, -1)
    for one in taken:
        places = (np.sort(one)[:, None] + np.arange(16)).ravel()
        np.testing.assert_array_equal(np.diff(places), 1)
        assert 0 <= places[0] < 32
        assert places[-1] + 1 < 1000
    assert len({tuple(one) for one in taken.tolist()}) == 3
    np.testing.assert_array_equal(starts.take(5, 9), Starts(1000, context=16, seed=3).take(5, 9))


def test_the_target_is_the_token_after(data: Data) -> None:
    stream = read_stream(data.train, end_of_text_id=0)
    batch = windows_at(stream, np.array([0, 7]), length=CONTEXT)
    np.testing.assert_array_equal(batch.input_ids[1], stream.tokens[7 : 7 + CONTEXT])
    np.testing.assert_array_equal(batch.target[1], stream.tokens[8 : 8 + CONTEXT])
    assert batch.num_units == 2 * CONTEXT
    np.testing.assert_array_equal(batch.row, stream.row[[0, 7]])


def test_batches_are_the_same_at_each_call_and_from_any_start(data: Data) -> None:
    _, objective, _ = prepared(data)
    whole = [batch.input_ids.tolist() for batch in objective.batches(1, 0)]
    rest = [batch.input_ids.tolist() for batch in objective.batches(1, 12)]
    assert len(whole) == objective.num_steps_per_epoch == 30
    assert whole[12:] == rest
    assert whole != [batch.input_ids.tolist() for batch in objective.batches(0, 0)]


def test_an_epoch_of_no_given_length_reads_all_once(data: Data) -> None:
    _, objective, _ = prepared(data, steps_per_epoch=None)
    num_tokens = len(read_stream(data.train, end_of_text_id=0).tokens)
    assert objective.num_steps_per_epoch == (num_tokens // CONTEXT - 1) // 8


@pytest.mark.parametrize("model", [SETTINGS["model"], LSTM])
def test_a_language_model_learns(model: dict[str, Any], data: Data, tmp_path: Path) -> None:
    notes = Notes()
    net, objective, params = prepared(data, tracker=notes, model=model)
    before = objective.validate(net)
    plan, optimizers = plan_of(params, objective, "fp32"), optimizers_of(params, objective)
    position = train(net, plan, objective, optimizers, checkpoints=tmp_path, tracker=notes, title="test")
    after = position.history[-1]
    assert before["validation_loss"] == pytest.approx(math.log(read_facts(data.predictor).vocab_size), rel=0.2)
    assert after["validation_loss"] < before["validation_loss"] - 1.5
    assert after["validation_perplexity"] == pytest.approx(math.exp(after["validation_loss"]))
    assert {"samples/after_epoch_001.txt", "samples/after_epoch_002.txt"} <= set(notes.files)
    assert notes.files["samples/after_epoch_002.txt"].count("---") == 2
    objective.batches(6, 3)  # of which none is left to a training that was killed in its look
    objective.validate(net)
    assert "samples/after_epoch_007.txt" in notes.files


def test_validation_is_the_mean_loss_of_all_tokens(data: Data) -> None:
    net, objective, _ = prepared(data)
    stream = read_stream(data.validation, end_of_text_id=0)
    num_windows = (len(stream.tokens) - 1) // CONTEXT
    net.eval()
    losses = [
        nn.functional.cross_entropy(
            net(torch.from_numpy(stream.tokens[i * CONTEXT : (i + 1) * CONTEXT])[None])[0],
            torch.from_numpy(stream.tokens[i * CONTEXT + 1 : (i + 1) * CONTEXT + 1]),
        ).item()
        for i in range(num_windows)
    ]
    figures = objective.validate(net)
    assert figures["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    bits = figures["validation_loss"] / math.log(2) * (len(stream.tokens) - 1) / stream.num_bytes
    assert figures["validation_bits_per_byte"] == pytest.approx(bits)


def test_showing_samples_leaves_the_draws_of_training_alone(data: Data) -> None:
    net, objective, _ = prepared(data)
    state = torch.get_rng_state()
    objective.validate(net)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_split_shorter_than_a_context_is_measured_whole(data: Data) -> None:
    net, objective, _ = prepared(data)
    stream = read_stream(data.validation, end_of_text_id=0)
    short = type(stream)(stream.tokens[:6], stream.row[:6], num_bytes=20)
    net.eval()
    with torch.inference_mode():
        figures = figures_of_stream(net, short, loss_of=objective.players[0].loss_of, context=CONTEXT)
        expected = nn.functional.cross_entropy(net(torch.from_numpy(short.tokens[:5])[None])[0],
                                               torch.from_numpy(short.tokens[1:]))  # fmt: skip
    assert figures["validation_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_model_without_logits_of_tokens_is_refused(data: Data) -> None:
    encoder = {
        "family": "encoder", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "dropout": 0.0
    }  # fmt: skip
    with pytest.raises(InputError, match=r"'causal', .* the family 'encoder' gives no logits"):
        prepared(data, model=encoder)


def test_a_corpus_smaller_than_a_context_is_refused() -> None:
    with pytest.raises(InputError, match=r"the training split holds 16 tokens, fewer than a context \(16\)"):
        Starts(16, context=16, seed=0)
    np.testing.assert_array_equal(Starts(17, context=16, seed=0).take(0, 3), [0, 0, 0])


def test_facts_of_documents(data: Data) -> None:
    facts = read_facts(data.predictor)
    assert facts == Facts(vocab_size=300, context=CONTEXT, pad_token_id=0)
