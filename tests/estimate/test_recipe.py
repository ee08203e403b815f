import copy
from pathlib import Path
from typing import Any

import pytest

from components.estimate.counts import counts_of
from components.estimate.recipe import estimate_recipe, facts_of, trainings_of
from components.models.facts import Facts
from components.models.storage import build
from components.params import Recipe
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError
from components.recipes import load_yaml, parse_recipe
from tests.projects import ROOT
from tests.tiny import make_tiny_encoder, tiny_rows

RAW = load_yaml(ROOT / "params.yaml")["recipes"]


def recipe(name: str, **sections: Any) -> Recipe:
    """A recipe of the project, some keys of its sections changed."""
    raw = copy.deepcopy(RAW[name])
    for section, changed in sections.items():
        raw[section] |= changed
    return parse_recipe(name, raw)


def adapting(**finetune: Any) -> Recipe:
    encoder = {"kind": "file", "path": "encoder"}
    return recipe("movie_sentiment", preprocess={"tokenizer": encoder}, pretrain={"source": encoder}, finetune=finetune)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A project's folder with a tiny encoder in it, and nothing that a stage has made."""
    make_tiny_encoder(tmp_path / "encoder", [text for text, _ in tiny_rows(100)])
    return tmp_path


def test_vector_recipe_is_told_from_its_config_alone(tmp_path: Path) -> None:
    small = {"model": {"hidden_sizes": [50, 20], "activation": "relu", "batch_norm": False, "dropout": 0.0}}
    found = estimate_recipe(tmp_path, "wide_mlp", recipe("wide_mlp", finetune=small))
    (training,) = found.trainings
    raw = RAW["wide_mlp"]
    num_train = round(
        raw["ingest"]["source"]["num_rows"] * (1 - sum(raw["preprocess"]["split"][s] for s in ("validation", "test")))
    )
    assert training.num_parameters == training.num_trained == 1000 * 50 + 50 + 50 * 20 + 20 + 20 * 10 + 10
    assert training.num_steps == raw["finetune"]["epochs"] * -(-num_train // raw["finetune"]["batch_size"])
    assert training.flops == training.num_steps * training.flops_a_step
    assert training.seconds > training.num_steps * training.step_s * 0.99
    assert training.rows_per_s * training.step_s == pytest.approx(raw["finetune"]["batch_size"])
    assert training.tokens_per_s is None
    assert found.stages["finetune"] > training.seconds
    assert found.seconds == sum(found.stages.values())
    assert found.fits
    assert not list(tmp_path.iterdir())


def test_loaded_encoder_is_told_from_its_config_file(encoder: Path) -> None:
    found = estimate_recipe(encoder, "tiny", adapting(way={"name": "full", "freeze": ["embeddings"]}))
    (training,) = found.trainings
    assert training.title == "finetune"
    assert training.num_trained == training.num_parameters - training.parameters["embeddings"] - 2 * 32  # its norm
    assert training.memory.gradients == 4 * training.num_trained
    assert training.tokens_per_s == pytest.approx(64 * training.rows_per_s)  # each text as long as max_tokens
    assert any("5,000 rows, the fewest" in said for said in found.assumptions)
    assert any("every text is as long as max_tokens allows" in said for said in found.assumptions)


def test_rows_and_the_lengths_of_their_texts_are_those_of_the_source(encoder: Path) -> None:
    texts = ["a good film"] * 3 + [f"film {number} " + "was good " * (1 if number % 2 else 50) for number in range(300)]
    rows = [f"{text},{'positive' if number % 2 else 'negative'}" for number, text in enumerate(texts)]
    rows[:3] = ["a good film,positive"] * 3
    (encoder / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    raw = copy.deepcopy(RAW["movie_sentiment"])
    raw["preprocess"]["tokenizer"] = raw["pretrain"]["source"] = {"kind": "file", "path": "encoder"}
    csv = {"type": "csv", "delimiter": ",", "quote": '"', "header": True, "encoding": "utf-8"}
    raw["ingest"] |= {
        "source": {"kind": "file", "path": "rows.csv"},
        "format": csv,
        "query": "FROM source",
        "feedback": None,
        "watch": "rows.csv",
    }
    one, assumptions = parse_recipe("movie_sentiment", raw), []
    facts = facts_of(encoder, "tiny", one, encoder / "work")
    counts, num_characters = counts_of(encoder, "tiny", one, facts, assumptions, work=encoder / "work")
    assert (counts.num_train, counts.num_validation) == (241, 30)  # of 301 different texts
    assert num_characters == sum(map(len, texts))
    assert max(counts.lengths) == facts.context == 64
    assert sum(length < 20 for length in counts.lengths) == 151
    assert assumptions == ["301 different texts with a label, in the source's 303 rows; preprocess may leave fewer"]
    (encoder / "rows.csv").unlink()
    counts, _ = counts_of(encoder, "tiny", one, facts, assumptions, work=encoder / "work")
    assert (counts.num_train, counts.lengths) == (4000, ())  # of the 5,000 that the contract asks for


def test_control_is_a_training_of_its_own_with_every_weight(encoder: Path) -> None:
    found = estimate_recipe(encoder, "tiny", adapting(way={"name": "head"}, control=True))
    finetune, control = found.trainings
    assert finetune.num_trained == finetune.parameters["head"]
    assert control.title == "finetune, control"
    assert control.num_trained == control.num_parameters == finetune.num_parameters
    assert found.stages["finetune"] > finetune.seconds + control.seconds


def test_encoder_that_is_not_here_yet_is_said_to_be_so(tmp_path: Path) -> None:
    other = RAW["movie_sentiment"]["pretrain"]["source"] | {"sha256": "0" * 64}
    movie = recipe("movie_sentiment", preprocess={"tokenizer": other}, pretrain={"source": other})
    with pytest.raises(InputError, match=r"tokenizer.json comes with the download .* --until preprocess"):
        estimate_recipe(tmp_path, "movie_sentiment", movie)
    with pytest.raises(InputError, match=r"config.json comes with the download. .* --until pretrain"):
        trainings_of(tmp_path, "movie_sentiment", movie, Facts(num_labels=2, vocab_size=10, context=8), tmp_path / "w")


def test_what_preprocess_left_is_taken_instead_of_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "speech_gpt" / "preprocess"
    (folder / "predictor").mkdir(parents=True)
    speech = recipe("speech_gpt")
    assumptions: list[str] = []
    facts = facts_of(tmp_path, "speech_gpt", speech, tmp_path / "work")
    assert facts == Facts(vocab_size=4096, context=256)
    counts, _ = counts_of(tmp_path, "speech_gpt", speech, facts, assumptions, work=tmp_path / "work")
    assert counts.num_train == 171  # 85 % of the 200 that the contract asks for at least, a context each
    assert len(assumptions) == 2
    told = {"task": "text_generation", "vocab_size": 4096, "context": 256, "pad_token_id": 3}
    write_json(folder / "predictor" / "predictor.json", told)
    write_json(folder / "report.json", {"num_train_tokens": 256_000, "num_validation_tokens": 25_600})
    facts = facts_of(tmp_path, "speech_gpt", speech, tmp_path / "work")
    assert facts == Facts(vocab_size=4096, context=256, pad_token_id=3)
    counts, _ = counts_of(tmp_path, "speech_gpt", speech, facts, assumptions, work=tmp_path / "work")
    assert (counts.num_train, counts.num_validation) == (1001, 100)
    assert len(assumptions) == 2


@pytest.mark.parametrize(
    ("changed", "facts", "said"),
    [
        ({"context": 512}, Facts(vocab_size=4096, context=512), "context 256, not 512"),
        (
            {"tokenizer": {"kind": "train", "algorithm": "bpe", "vocab_size": 8000, "lowercase": False}},
            Facts(vocab_size=8000, context=256),
            "vocab_size 4096, not 8000",
        ),
    ],
)
def test_what_preprocess_left_is_not_taken_where_the_config_was_edited_since(
    tmp_path: Path, changed: dict[str, Any], facts: Facts, said: str
) -> None:
    folder = tmp_path / "artifacts" / "speech_gpt" / "preprocess"
    (folder / "predictor").mkdir(parents=True)
    told = {"task": "text_generation", "vocab_size": 4096, "context": 256, "pad_token_id": 3}
    write_json(folder / "predictor" / "predictor.json", told)
    write_json(folder / "report.json", {"num_train_tokens": 256_000, "num_validation_tokens": 25_600})
    edited = recipe("speech_gpt", preprocess=changed)
    assumptions: list[str] = []
    assert facts_of(tmp_path, "speech_gpt", edited, tmp_path / "work") == facts
    counts, _ = counts_of(tmp_path, "speech_gpt", edited, facts, assumptions, work=tmp_path / "work")
    assert counts.length == facts.context
    assert counts.num_train < 1000
    assert f"preprocess left {said} as params.yaml has it now; so the config is taken" in assumptions[0]


def test_vocabulary_of_a_download_is_still_that_of_preprocess(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "movie_sentiment" / "preprocess"
    (folder / "predictor").mkdir(parents=True)
    told = {"task": "text_classification", "vocab_size": 999, "max_tokens": 7, "labels": ["a", "b"]}
    write_json(folder / "predictor" / "predictor.json", told)
    movie = recipe("movie_sentiment")
    facts = facts_of(tmp_path, "movie_sentiment", movie, tmp_path / "work")
    assert facts == Facts(num_labels=2, vocab_size=999, context=movie.preprocess.max_tokens)


def test_estimate_changes_with_an_edited_shape(tmp_path: Path) -> None:
    small = {"model": {"hidden_sizes": [50, 20], "activation": "relu", "batch_norm": False, "dropout": 0.0}}
    folder = tmp_path / "artifacts" / "wide_mlp" / "preprocess"
    (folder / "predictor").mkdir(parents=True)
    told = {"task": "array_classification", "shape": [700], "labels": [str(n) for n in range(10)]}
    write_json(folder / "predictor" / "predictor.json", told | {"offset": 0.0, "scale": 1.0})
    write_json(folder / "report.json", {"num_train": 64, "num_validation": 8})
    found = estimate_recipe(tmp_path, "wide_mlp", recipe("wide_mlp", finetune=small))
    assert found.trainings[0].num_parameters == 1000 * 50 + 50 + 50 * 20 + 20 + 20 * 10 + 10
    assert any("preprocess left shape [700], not [1000]" in said for said in found.assumptions)


def test_every_recipe_of_the_project_builds_its_networks_without_numbers(tmp_path: Path) -> None:
    told = [name for name, raw in RAW.items() if raw["pretrain"]["mode"] != "load"]
    assert told
    for name in told:
        one = recipe(name)
        facts = facts_of(tmp_path, name, one, tmp_path / "work")
        for training in trainings_of(tmp_path, name, one, facts, tmp_path / "work"):
            assert training.params.epochs > 0
            assert training.family in ("encoder", "gpt", "lstm", "mlp", "gan")


def test_wide_mlp_has_the_parameters_that_it_promises(tmp_path: Path) -> None:
    one = recipe("wide_mlp")
    model = build(one.finetune.model, facts_of(tmp_path, "wide_mlp", one, tmp_path))
    assert sum(p.numel() for p in model.parameters()) == 10_016_010
