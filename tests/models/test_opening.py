"""What a folder says of itself whose model transformers does not know."""

import re
from pathlib import Path

import pytest
import torch

from components.models.facts import Facts
from components.models.opening import make_openable
from components.models.storage import build, save
from components.params import ModelSettings
from components.params.families.gan import GanSettings
from components.params.families.lstm import LstmSettings
from components.params.families.mlp import MlpSettings
from components.plumbing.artifacts import write_json
from tests.tiny_documents import tiny_documents, write_documents_of

PICTURES = Facts(num_labels=2, shape=(4, 5))
UNKNOWN: list[tuple[ModelSettings, Facts]] = [
    (LstmSettings(family="lstm", embedding_size=16, hidden_size=16, num_layers=1, dropout=0.0),
     Facts(vocab_size=300, context=16)),
    (MlpSettings(family="mlp", hidden_sizes=(6,), activation="relu", batch_norm=False, dropout=0.0), PICTURES),
    (GanSettings(family="gan", latent_size=3, generator_sizes=(8,), discriminator_sizes=(8,), batch_norm=True,
                 dropout=0.0), PICTURES),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "facts"), UNKNOWN, ids=[settings.family for settings, _ in UNKNOWN])
def test_family_that_transformers_does_not_know_says_so_and_how_it_opens(
    settings: ModelSettings, facts: Facts, tmp_path: Path
) -> None:
    reads_tokens = facts.vocab_size > 0
    if reads_tokens:
        write_documents_of(tmp_path, tiny_documents(30), context=16)
    else:
        (tmp_path / "predictor").mkdir()
        write_json(tmp_path / "predictor" / "predictor.json", {"shape": [4, 5]})
    model, folder = build(settings, facts).eval(), tmp_path / "model"
    save(model, folder, family=settings.family, settings=settings, facts=facts)
    make_openable(folder, predictor=tmp_path / "predictor")

    assert {path.name for path in folder.iterdir()} == {"README.md", "family.json", "model.safetensors"} | (
        {"tokenizer.json", "tokenizer_config.json"} if reads_tokens else set()
    )
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"transformers does not know this model: it is of Modelyard's family `{settings.family}`" in card
    assert "library_name" not in card
    assert "pipeline_tag" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    opened: dict[str, object] = {}
    exec(code.replace("path/to/this/folder", str(folder)), opened)
    theirs = opened["model"]
    assert isinstance(theirs, torch.nn.Module)
    torch.testing.assert_close(dict(theirs.state_dict()), dict(model.state_dict()))
