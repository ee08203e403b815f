from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from components.models.encoder.network import EncoderForMasking, classifier_of, config_of
from components.models.facts import Facts
from components.models.storage import build, save
from components.params import FileSource
from components.params.families import FAMILIES
from components.plumbing.errors import ArtifactError, InputError, SourceError, TrainingError
from components.tracking.tracker import NullTracker
from components.training.starting import first_weights

FACTS = {
    "encoder": Facts(num_labels=2, vocab_size=40, context=16),
    "gan": Facts(shape=(3, 3)),
    "gpt": Facts(vocab_size=40, context=16),
    "lstm": Facts(vocab_size=40, context=16),
    "mlp": Facts(num_labels=2, shape=(3, 3)),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "encoder": {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 16, "dropout": 0.0},
    "gan": {
        "latent_size": 4, "generator_sizes": [8], "discriminator_sizes": [8], "batch_norm": True, "dropout": 0.0,
    },
    "gpt": {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0},
    "lstm": {"embedding_size": 8, "hidden_size": 8, "num_layers": 1, "dropout": 0.0},
    "mlp": {"hidden_sizes": [4], "activation": "relu", "batch_norm": True, "dropout": 0.0},
}  # fmt: skip


def settings(family: str) -> Any:
    return FAMILIES[family].model_validate({"family": family, **SETTINGS[family]}, strict=False)


def start(family: str, root: Path, *, source: FileSource | None, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return first_weights(
            settings(family), FACTS[family], source, stage="finetune", predictor=root, root=root, work=root / "work",
            tracker=NullTracker(),
        )  # fmt: skip


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_every_family_starts_from_another_training(family: str, tmp_path: Path) -> None:
    theirs = start(family, tmp_path, source=None, seed=0)
    save(theirs, tmp_path / "model", family=family, settings=settings(family), facts=FACTS[family])
    scratch = start(family, tmp_path, source=None).state_dict()
    again = start(family, tmp_path, source=FileSource(kind="file", path="model")).state_dict()
    assert any(not scratch[name].equal(value) for name, value in theirs.state_dict().items())
    assert all(again[name].equal(value) for name, value in theirs.state_dict().items())


def test_of_a_classifier_the_encoder_is_taken(tmp_path: Path) -> None:
    encoder = start("encoder", tmp_path, source=None, seed=0)
    assert isinstance(encoder, EncoderForMasking)
    config = config_of(settings("encoder"), FACTS["encoder"])
    classifier = classifier_of(config, labels=("a", "b"), dropout=0.0)
    encoder = encoder.encoder
    classifier.encoder.load_state_dict(encoder.state_dict(), strict=False)  # which has a pooler as well
    save(classifier, tmp_path / "model", family="encoder", settings=None, facts=FACTS["encoder"])
    again = start("encoder", tmp_path, source=FileSource(kind="file", path="model")).state_dict()
    assert all(again[f"hosted.bert.{name}"].equal(value) for name, value in encoder.state_dict().items())


def test_random_state_is_the_same_from_scratch_and_from_a_source(tmp_path: Path) -> None:
    save(
        start("mlp", tmp_path, source=None), tmp_path / "m", family="mlp", settings=settings("mlp"), facts=FACTS["mlp"]
    )
    draws: list[float] = []
    for source in (None, FileSource(kind="file", path="m")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first_weights(
                settings("mlp"), FACTS["mlp"], source, stage="finetune", predictor=tmp_path, root=tmp_path,
                work=tmp_path / "work", tracker=NullTracker(),
            )  # fmt: skip
            draws.append(torch.rand(1).item())
    assert draws[0] == draws[1]


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    wider = FAMILIES["mlp"].model_validate({"family": "mlp", **SETTINGS["mlp"], "hidden_sizes": [5]}, strict=False)
    save(build(wider, FACTS["mlp"]), tmp_path / "model", family="mlp", settings=wider, facts=FACTS["mlp"])
    with pytest.raises(
        InputError,
        match=r"^finetune.source has other weights than finetune.model asks for: head.weight is \(2, 5\), not",
    ):
        start("mlp", tmp_path, source=FileSource(kind="file", path="model"))


@pytest.mark.parametrize(("name", "value"), [("hidden.0.weight", torch.nan), ("hidden.1.running_var", torch.inf)])
def test_weights_that_are_not_finite_are_neither_kept_nor_taken(name: str, value: float, tmp_path: Path) -> None:
    model, told = build(settings("mlp"), FACTS["mlp"]), {"settings": settings("mlp"), "facts": FACTS["mlp"]}
    save(model, tmp_path / "model", family="mlp", **told)
    model.state_dict()[name].view(-1)[0] = value
    with pytest.raises(TrainingError, match=f"^the trained weights have .* in '{name}'; nothing was kept. Lower"):
        save(model, tmp_path / "other", family="mlp", **told)
    assert not (tmp_path / "other").exists()
    save_file(model.state_dict(), tmp_path / "model" / "model.safetensors")
    with pytest.raises(ArtifactError, match=f"model.safetensors has values that are not finite, in '{name}'; train"):
        start("mlp", tmp_path, source=FileSource(kind="file", path="model"))


def test_a_folder_that_no_recipe_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"^finetune.source holds no family.json; it must be a model that a recipe"):
        start("mlp", tmp_path, source=FileSource(kind="file", path="model"))


def test_a_folder_with_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.pt").touch()
    with pytest.raises(SourceError, match=r"^weights.pt is a pickle"):
        start("mlp", tmp_path, source=FileSource(kind="file", path="model"))
