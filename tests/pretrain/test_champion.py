import pytest

from components.artifacts import files_of
from components.champion import champion_folder
from components.errors import InputError
from components.models.facts import Facts
from components.models.gpt.settings import Settings
from components.models.storage import build, load, save
from components.tracking import NullTracker, stage_run


def test_weights_of_the_champion_are_loaded_as_they_were_saved(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings(family="gpt", hidden_size=16, num_layers=1, num_heads=2, dropout=0.0)
    facts = Facts(vocab_size=50, context=8)
    model = build(settings, facts)
    save(model, tmp_path / "model", family="gpt", settings=settings, facts=facts)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    with stage_run(tmp_path, "tiny", "package") as run:
        run.register_model(bundle, weights=tmp_path / "model", digest="aa")
    with stage_run(tmp_path, "tiny", "pretrain") as run:
        folder = champion_folder(run, tmp_path / "source")
    assert files_of(folder) == files_of(tmp_path / "model")
    theirs = load(folder).state_dict()
    assert all(theirs[name].equal(value) for name, value in model.state_dict().items())


def test_no_champion_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no champion of this recipe is registered yet; run it once with another"):
        champion_folder(NullTracker(), tmp_path)
