import json
import shutil
from pathlib import Path

import pytest

from components.artifacts import read_json, sha256_of, write_json, writing
from components.errors import ArtifactError, InputError
from components.tracking import Store
from flows.up.challengers import challenge, withdraw
from flows.up.router import champion_of, promote, rules_of
from serving.bundle import MANIFEST
from serving.router.versions import Version, read_version
from tests.projects import ROOT, edit, tiny_recipe, write_params


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a packaged bundle: as much of one as is looked at."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_params(tmp_path, {"tiny": tiny_recipe()})
    with writing(tmp_path / "artifacts/tiny/package") as folder:
        bundle = folder / "bundle"
        bundle.mkdir()
        write_json(bundle / "service.json", {"name": "tiny", "task": "text_classification", "limits": {}})
        write_json(bundle / MANIFEST, {"files": {"service.json": sha256_of(bundle / "service.json")}})
    return tmp_path


def digest_of(project: Path) -> str:
    return sha256_of(project / "artifacts/tiny/package/bundle" / MANIFEST)


def test_challenger_is_what_was_packaged_with_its_number_in_the_registry(project: Path):
    with pytest.raises(ArtifactError, match="is no version of the registry"):
        challenge(project, "tiny")
    client = Store(project, "tiny").client
    client.create_registered_model("tiny")
    for digest in ("another", digest_of(project)):
        client.create_model_version("tiny", str(project), tags={"digest": digest})
    verdict = project / ".modelyard/canary/tiny.json"
    verdict.parent.mkdir(parents=True)
    verdict.write_text("{}")
    challenge(project, "tiny")
    found = read_version(project / ".modelyard/challengers/tiny.json", root=project)
    assert found is not None
    assert (found.version, found.digest) == ("2", digest_of(project))
    assert found.tag == f"tiny:{digest_of(project)[:12]}"
    assert sha256_of(found.bundle / MANIFEST) == digest_of(project)
    assert not verdict.exists()
    assert withdraw(project, "tiny")
    assert not withdraw(project, "tiny")
    assert read_version(project / ".modelyard/challengers/tiny.json", root=project) is None


def test_champion_is_no_challenger(project: Path):
    path = project / ".modelyard/champions/tiny.json"
    path.parent.mkdir(parents=True)
    write_json(path, {"version": 1, "digest": digest_of(project), "tag": "tiny:1", "bundle": "."})
    with pytest.raises(InputError, match="is the champion of tiny already"):
        challenge(project, "tiny")


def test_recipe_that_wants_no_trial_says_what_to_do(project: Path):
    assert rules_of(project, "tiny") is not None
    edit(project, "tiny.service.canary", {"mode": "none"})
    assert rules_of(project, "tiny") is None
    with pytest.raises(InputError, match="modelyard promote tiny"):
        challenge(project, "tiny")


def test_champion_is_whom_promotion_names_and_else_what_was_packaged_at_the_start(project: Path):
    champion = champion_of(project, "tiny")
    first = champion()
    assert first is not None
    assert (first.version, first.digest) == ("", digest_of(project))
    manifest = project / "artifacts/tiny/package/bundle" / MANIFEST
    manifest.write_text(json.dumps({**read_json(manifest), "more": 1}))
    assert champion() == first  # a run makes a challenger, and not a champion
    path = project / ".modelyard/champions/tiny.json"
    path.parent.mkdir(parents=True)
    write_json(path, {"version": 7, "digest": "d", "tag": "tiny:d", "bundle": "bundles/d"})
    assert champion() == Version("7", "d", "tiny:d", project / "bundles/d")


def test_promotion_that_fails_is_told_in_its_own_words(project: Path):
    refusal = promote(project, "nobody", Version("7", "d", "tiny:d", project))
    assert refusal is not None
    assert refusal.startswith("'modelyard promote' ended with 2: ")
