import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from tokenizers import Tokenizer

from components.tasks.text_generation.judging.export import export_step
from components.tasks.text_generation.judging.stepping import float_generator, load_stepping
from serving.predictors.sampling import RequestError
from serving.tasks.text_generation.predictor import Spelling, Stops, TextGenerator, load_tokenizer
from tests.tiny import make_tiny_tokenizer
from tests.tiny_language import CONTEXT, TEXTS, make_model, make_predictor

GREEDY: dict[str, Any] = {"max_tokens": 40, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}
DRAWN = GREEDY | {"temperature": 1.0}


@pytest.fixture(scope="module", params=["gpt", "lstm"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    make_model(root, request.param)
    onnx.save(export_step(load_stepping(root / "model")), root / "predictor" / "model.onnx")
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> TextGenerator:
    return TextGenerator.load(folder / "predictor", threads=2)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(make_predictor(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json")


def test_same_seed_same_answer_and_another_seed_another(model: TextGenerator) -> None:
    one, again, other = (model.generate("A dull day", **DRAWN | {"seed": seed}).answer() for seed in (5, 5, 6))
    assert one == again
    assert one["text"] != other["text"]
    assert one["seed"] == 5


def test_answers_do_not_depend_on_who_else_asks(model: TextGenerator) -> None:
    requests = [{"prompt": f"A day {seed}", **DRAWN, "seed": seed} for seed in range(6)]
    alone = [model.generate(**request).answer() for request in requests]
    assert model.answers(requests) == alone
    assert model.answers(requests[::-1]) == alone[::-1]


def test_pieces_join_to_the_text_of_the_tokens(model: TextGenerator) -> None:
    num_pieces = 0
    for seed in range(10):
        generation = model.generate("Caf\u00e9 au lait", **DRAWN | {"seed": seed})
        pieces = list(generation)
        assert "".join(pieces) == model.generate("Caf\u00e9 au lait", **DRAWN | {"seed": seed}).answer()["text"]
        assert generation.finish_reason in ("length", "end")
        assert len(pieces) <= generation.num_tokens + 2
        num_pieces += sum(map(bool, pieces))
    assert num_pieces > 20


def test_onnx_writes_what_torch_writes(model: TextGenerator, folder: Path) -> None:
    floats = float_generator(load_stepping(folder / "model"), folder / "predictor", threads=1)
    for asked in (GREEDY, DRAWN):
        assert floats.generate("A warm", **asked).answer() == model.generate("A warm", **asked).answer()


def test_length_is_kept_past_the_context(model: TextGenerator) -> None:
    for seed in range(20):
        answer = model.generate("warm", **DRAWN | {"max_tokens": 3 * CONTEXT, "seed": seed}).answer()
        if answer["finish_reason"] == "length":
            assert answer["num_tokens"] == 3 * CONTEXT
            return
    pytest.fail("no answer got to its full length")


def test_end_of_the_text_ends_the_answer(model: TextGenerator) -> None:
    for seed in range(200):
        generation = model.generate("warm", **DRAWN | {"max_tokens": 400, "seed": seed})
        answer = generation.answer()
        if answer["finish_reason"] == "end":
            assert answer["num_tokens"] < 400
            assert "endoftext" not in answer["text"]
            return
    pytest.fail("no answer came to its end")


def test_answer_ends_before_a_stop_text(model: TextGenerator) -> None:
    whole = model.generate("A dull", **DRAWN).answer()
    stop = whole["text"][4:7]
    place = whole["text"].index(stop)
    generation = model.generate("A dull", **DRAWN, stop=["never", stop])
    assert "".join(generation) == whole["text"][:place]
    assert generation.finish_reason == "stop"
    assert generation.num_tokens < whole["num_tokens"]


def test_nothing_is_computed_before_it_is_asked_for(model: TextGenerator) -> None:
    generation = model.generate("warm", **GREEDY | {"max_tokens": 100_000})
    next(generation)
    assert generation.num_tokens == 1


def test_probabilities_of_documents_are_those_of_their_tokens(model: TextGenerator) -> None:
    documents = [model.tokenizer.encode(text).ids for text in TEXTS[:3]]
    found = model.log2_probabilities([*documents, []])
    assert [len(one) for one in found] == [*map(len, documents), 0]
    first = model.read([[token] for token in range(320)], lambda logits, tokens: logits[0, tokens[0]])
    assert len(first) == 320
    total = sum(2.0 ** one[0] for one in model.log2_probabilities([[token] for token in range(320)]))
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("", "prompt is empty"),
        (" ", "prompt is empty"),
        ("warm \ud800", "half of a surrogate pair"),
        ("~!" * CONTEXT, f"prompt has {2 * CONTEXT} tokens; at most {CONTEXT - 1} are taken"),
        ("a" * 100_000, "prompt has 100000 characters; at most 15 tokens are taken, of 128 characters at most"),
    ],
)
def test_bad_prompt_is_refused(model: TextGenerator, prompt: str, error: str) -> None:
    with pytest.raises(RequestError, match=re.escape(error)):
        model.generate(prompt, **GREEDY)


def test_wrong_range_is_refused_at_once(model: TextGenerator) -> None:
    with pytest.raises(RequestError, match="top_p is 2"):
        model.generate("warm", **GREEDY | {"top_p": 2})


def test_name_of_a_special_token_is_a_text(model: TextGenerator) -> None:
    assert 0 not in model.encode("<|endoftext|>")


def test_prompt_is_cleaned_as_in_training_and_keeps_its_last_line_ends(model: TextGenerator) -> None:
    assert model.encode("Cafe\u0301") == model.encode("Caf\u00e9")
    assert model.encode("a \r\nb\x00c ") == model.encode("a\nb c") == model.tokenizer.encode("a\nb c").ids
    assert model.encode("a\n\n") != model.encode("a")


@pytest.mark.parametrize("prompt", ["dull \u5b57 day", "\u5b57"])
def test_unknown_characters_are_named(folder: Path, tmp_path: Path, prompt: str) -> None:
    step = TextGenerator.load(folder / "predictor", threads=1).step
    make_tiny_tokenizer(tmp_path / "tokenizer.json", TEXTS, vocab_size=300)
    settings = TextGenerator.load(folder / "predictor", threads=1).settings
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    model = TextGenerator(tokenizer=tokenizer, settings=settings, step=step, threads=1)
    with pytest.raises(RequestError, match="characters that the model does not know: '\u5b57'; leave them out"):
        model.generate(prompt, **GREEDY)
    model.generate("dull day", **GREEDY)


def test_characters_that_a_tokenizer_drops_are_named_too(model: TextGenerator) -> None:
    tokenizer = Tokenizer.from_str(model.tokenizer.to_str())
    state = json.loads(tokenizer.to_str())
    state["pre_tokenizer"] = state["decoder"] = None  # letters that are no bytes, and no unknown token
    bare = TextGenerator(
        tokenizer=Tokenizer.from_str(json.dumps(state)), settings=model.settings, step=model.step, threads=1
    )
    with pytest.raises(RequestError, match="does not know: '\u5b57'"):
        bare.generate("dull \u5b57", **GREEDY)


@pytest.mark.parametrize("text", ["na\u00efve caf\u00e9", "\U0001f600 smile", "a\ufffdb", "\u5b57\u5b57", ""])
def test_half_characters_wait(tokenizer: Tokenizer, text: str) -> None:
    spelling = Spelling(tokenizer, tokenizer.encode("before").ids)
    pieces = [spelling.add(token) for token in tokenizer.encode(text).ids]
    assert "".join(pieces) + spelling.rest() == text
    assert not any(piece.endswith("\ufffd") for piece in pieces)


def test_bytes_that_are_no_characters_are_shown_as_such(tokenizer: Tokenizer) -> None:
    euro = tokenizer.encode("\u20ac").ids
    assert len(euro) == 3
    ids = [euro[1], euro[0], *tokenizer.encode("a").ids, *euro, euro[0]]
    spelling = Spelling(tokenizer, [])
    pieces = [spelling.add(token) for token in ids]
    assert "".join(pieces) == "\ufffd\ufffda\u20ac"
    assert "".join(pieces) + spelling.rest() == tokenizer.decode(ids)


def test_bytes_that_never_become_a_character_do_not_wait_for_ever(tokenizer: Tokenizer) -> None:
    euro = tokenizer.encode("\u20ac").ids
    spelling = Spelling(tokenizer, [])
    pieces = [spelling.add(euro[1]) for _ in range(100)]
    assert 80 <= len("".join(pieces)) <= 100
    assert len(spelling.ids) <= 17


def test_words_are_spelled_beside_those_before(tmp_path: Path) -> None:
    make_tiny_tokenizer(tmp_path / "tokenizer.json", TEXTS, vocab_size=300)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    ids = tokenizer.encode("dull story ww", add_special_tokens=False).ids
    spelling = Spelling(tokenizer, ids[:1])
    assert "".join(spelling.add(token) for token in ids[1:]) == " story ww"


@pytest.mark.parametrize(
    ("stops", "pieces", "given"),
    [
        (["\n\n"], ["a\n", "b\n", "\nc"], "a\nb"),
        (["ab", "b"], ["xa", "b"], "x"),
        (["aab"], ["a", "a", "a", "b", "c"], "a"),
        ([], ["a", "b"], "ab"),
        (["xyz"], ["ax", "y"], "a"),
    ],
)
def test_what_may_begin_a_stop_text_waits(stops: list[str], pieces: list[str], given: str) -> None:
    held = Stops(stops)
    text = ""
    for piece in pieces:
        text += held.add(piece)
        if held.found:
            break
    assert text == given


def test_generating_needs_no_training_library(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.tasks.text_generation.predictor import TextGenerator\n"
        f"model = TextGenerator.load(Path({str(folder / 'predictor')!r}), threads=1)\n"
        f"model.generate('warm', **{GREEDY!r}).answer()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert not loaded & {"torch", "transformers", "onnx", "pyarrow", "mlflow", "components", "flows", "bentoml"}
