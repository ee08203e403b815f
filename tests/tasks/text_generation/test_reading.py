import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.models.facts import Facts
from components.models.gpt.network import build as build_gpt
from components.models.lstm.network import build as build_lstm
from components.params.families.gpt import GptSettings
from components.params.families.lstm import LstmSettings
from components.plumbing.errors import ArtifactError
from components.tasks.text_generation.evaluate.documents import Documents, Vocabulary
from components.tasks.text_generation.evaluate.reading import read, windows_of
from components.tasks.text_generation.judging.stepping import float_generator, stepping_of
from tests.tiny_documents import tiny_documents, write_documents_of

CONTEXT, SIZE = 8, 30
VOCABULARY = Vocabulary(size=SIZE, context=CONTEXT, end_of_text_id=0)


def documents(*lengths: int) -> Documents:
    random = np.random.default_rng(0)
    ids = [np.append(random.integers(1, SIZE, length - 1), 0).astype(np.int32) for length in lengths]
    return Documents(np.arange(len(ids)), [""] * len(ids), ids, np.array([4 * length for length in lengths]))


def gpt() -> nn.Module:
    torch.manual_seed(0)
    settings = GptSettings(family="gpt", hidden_size=16, num_layers=2, num_heads=2, dropout=0.5)
    return build_gpt(settings, Facts(vocab_size=SIZE, context=CONTEXT)).eval()


def lstm() -> nn.Module:
    torch.manual_seed(0)
    settings = LstmSettings(family="lstm", embedding_size=12, hidden_size=16, num_layers=2, dropout=0.5)
    return build_lstm(settings, Facts(vocab_size=SIZE, context=CONTEXT)).eval()


def expected(model: nn.Module, ids: list[int], *, first: int, end: int) -> float:
    """The log2-probability of the token at `end`, when those from `first` on are read."""
    stream = [0, *ids]
    with torch.inference_mode():
        logits = model(torch.tensor([stream[first : end + 1]]))[0, -1]
    return float(logits.double().log_softmax(0)[ids[end]] / math.log(2))


@pytest.mark.parametrize("num_targets", [1, 7, 8, 9, 12, 13, 40])
@pytest.mark.parametrize("context", [8, 9])
def test_each_target_counts_in_one_window_with_half_a_context_before_it(num_targets: int, context: int) -> None:
    seen: list[int] = []
    for window in windows_of(num_targets, document=0, context=context):
        counted = range(window.start + window.first, window.start + window.length)
        assert window.length <= context
        assert all(target < context or target - window.start >= context // 2 for target in counted)
        seen += counted
    assert seen == list(range(num_targets))


def test_a_transformer_reads_overlapping_windows() -> None:
    model, split = gpt(), documents(1, 5, 8, 9, 21)
    found = read(model, split, vocabulary=VOCABULARY)
    assert [len(one) for one in found] == [1, 5, 8, 9, 21]
    ids = split.input_ids[4].tolist()
    firsts = [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4 + [16]
    for end, first in enumerate(firsts):
        assert found[4][end] == pytest.approx(expected(model, ids, first=first, end=end), abs=1e-4)


def test_an_lstm_carries_its_state_through_a_document() -> None:
    model, split = lstm(), documents(3, 30, 17, 8)
    found = read(model, split, vocabulary=VOCABULARY)
    for ids, one in zip(split.input_ids, found, strict=True):
        assert len(one) == len(ids)
        for end in range(len(ids)):
            assert one[end] == pytest.approx(expected(model, ids.tolist(), first=0, end=end), abs=1e-4)


@pytest.mark.parametrize("make", [gpt, lstm])
def test_a_document_is_read_alike_alone_and_among_others(make: type[nn.Module]) -> None:
    split = documents(19, 30, 4)
    alone = Documents(split.row[:1], split.texts[:1], split.input_ids[:1], split.num_bytes[:1])
    together = read(make(), split, vocabulary=VOCABULARY)[0]
    np.testing.assert_allclose(read(make(), alone, vocabulary=VOCABULARY)[0], together, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt", "lstm"])
def test_what_is_measured_is_what_is_served(family: str, tmp_path: Path) -> None:
    write_documents_of(tmp_path, tiny_documents(20), context=CONTEXT)
    model = {"gpt": gpt, "lstm": lstm}[family]()
    split = documents(50, 12)
    served = float_generator(stepping_of(model, family=family), tmp_path / "predictor", threads=1)
    theirs = served.log2_probabilities([ids.tolist() for ids in split.input_ids])
    ours = read(model, split, vocabulary=VOCABULARY)
    assert [len(one) for one in theirs] == [len(one) for one in ours]
    np.testing.assert_allclose(np.concatenate(theirs), np.concatenate(ours), atol=1e-4)


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    model = gpt()
    nn.init.constant_(model.transformer.ln_f.weight, math.nan)
    with pytest.raises(ArtifactError, match=r"not finite in 2 of 2 test documents; .*learning_rate"):
        read(model, documents(5, 9), vocabulary=VOCABULARY)
