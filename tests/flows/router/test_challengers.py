import shutil
from pathlib import Path

import pytest

from components.plumbing.artifacts import replace, sha256_of, write_json, writing
from components.plumbing.errors import InputError
from components.tracking.stage_run import stage_run
from flows.router.challengers import challenge, withdraw
from flows.router.project import Project
from flows.router.versions import ServedVersion
from serving.bundle import MANIFEST, identify
from tests.projects import ROOT, edit, tiny_recipe, write_params
from tests.tiny_bundles import finish_bundle, rebuild


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a packaged bundle: as much of one as is looked at."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_params(tmp_path, {"tiny": tiny_recipe()})
    with writing(tmp_path / "artifacts/tiny/package") as folder:
        bundle = folder / "bundle"
        bundle.mkdir()
        (bundle / "model.onnx").write_text("a model")
        finish_bundle(bundle)
    return tmp_path


def digest_of(project: Path) -> str:
    return identify(project / "artifacts/tiny/package/bundle").version


def register(project: Path, text: str) -> ServedVersion:
    """Another model as a version of the registry; gives it."""
    bundle = project / text / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_text(text)
    finish_bundle(bundle)
    (project / text / "weights").mkdir()
    with stage_run(project, "tiny", "package") as run:
        number = run.register_model(bundle, weights=project / text / "weights")["version"]
    identity = identify(bundle)
    return ServedVersion(number, identity.version, identity.build, f"tiny:{identity.label}", bundle)


def test_challenger_is_tried_where_it_is_asked_for_or_every_one_is(project: Path) -> None:
    challenger = Project(project, "tiny").challenger
    with pytest.raises(InputError, match="has no version in the model registry"):
        challenge(project, "tiny", number=None)
    first, second = register(project, "first"), register(project, "second")
    with pytest.raises(InputError, match="version 1 of tiny is the champion already"):
        challenge(project, "tiny", number=1)
    assert challenger() is None
    verdict = project / ".modelyard/canary/tiny.json"
    verdict.parent.mkdir(parents=True)
    write_json(verdict, {"digest": second.digest, "state": "failed"})
    assert challenge(project, "tiny", number=None).number == 2
    asked = challenger()
    assert asked is not None
    assert (asked.version, asked.digest, asked.tag) == (second.version, second.digest, second.tag)
    assert sha256_of(asked.bundle / MANIFEST) == asked.build == second.build
    assert not verdict.exists()
    write_json(verdict, {"digest": second.digest, "state": "failed"})
    assert challenger() is None  # it had its trial
    verdict.unlink()
    assert withdraw(project, "tiny")
    assert not withdraw(project, "tiny")
    assert challenger() is None

    digests = {"digest": first.digest, "build": first.build}
    named = {"version": 1, **digests, "tag": first.tag, "bundle": str(first.bundle)}
    write_json(project / ".modelyard/challengers/tiny.json", named)  # as promotion names each
    assert challenger() is None
    edit(project, "tiny.promotion.then", "trial")
    assert challenger() == first


def test_recipe_that_wants_no_trial_says_what_to_do(project: Path) -> None:
    assert Project(project, "tiny").rules() is not None
    edit(project, "tiny.service.canary", {"mode": "none"})
    assert Project(project, "tiny").rules() is None
    with pytest.raises(InputError, match="modelyard promote tiny"):
        challenge(project, "tiny", number=None)


def test_champion_is_whom_promotion_names_and_else_what_was_packaged_at_the_start(project: Path) -> None:
    watched = Project(project, "tiny")
    champion = watched.champion
    first = champion()
    assert first is not None
    assert (first.version, first.digest) == ("", digest_of(project))
    bundle = project / "artifacts/tiny/package/bundle"
    replace(rebuild(bundle, project / "rebuilt", card="# another service\n"), bundle)
    second = watched.untaken()  # which promotion is asked to name
    assert second is not None
    assert (second.digest, second.build) == (first.digest, identify(bundle).build)
    assert second.build != first.build
    assert champion() == first
    shutil.rmtree(bundle)
    bundle.mkdir()
    (bundle / "model.onnx").write_text("another model")
    finish_bundle(bundle)
    assert champion() == first  # a run makes a challenger, and not a champion
    assert watched.untaken() is None
    path = project / ".modelyard/champions/tiny.json"
    path.parent.mkdir(parents=True)
    write_json(path, {"version": 7, "digest": "d", "tag": "tiny:d", "bundle": "bundles/d"})
    assert champion() == ServedVersion("7", "d", "d", "tiny:d", project / "bundles/d")


def test_packaged_bundle_that_cannot_be_read_is_told_once_and_looked_at_again_once_it_changes(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Project(project, "tiny")
    manifest = project / "artifacts/tiny/package/bundle" / MANIFEST
    whole = manifest.read_text()
    manifest.unlink()
    assert watched.packaged() is None
    assert caplog.records == []  # it is not there yet
    manifest.write_text("{")
    assert [watched.packaged(), watched.packaged()] == [None, None]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"what is packaged of tiny cannot be read: {manifest} cannot be read (")
    manifest.unlink()
    manifest.write_text(whole)
    found = watched.packaged()
    assert found is not None
    assert found.digest == digest_of(project)


def test_promotion_that_fails_is_told_in_its_own_words(project: Path) -> None:
    refusal = Project(project, "nobody").promote(ServedVersion("7", "d", "d", "tiny:d", project))
    assert refusal is not None
    assert refusal.startswith("'modelyard promote' ended with 2: ")
