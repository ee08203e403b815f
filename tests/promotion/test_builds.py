"""The builds of the champion's service, on a real registry: taken over without a gate, and noted."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.artifacts import read_json, sha256_of, write_json, writing
from components.plumbing.errors import ArtifactError, InputError
from components.promotion.builds import copy_bundle, packaged_build
from components.promotion.decide import champion_of, promote, promote_made, rollback, take_build
from components.promotion.ledger import entries, verify
from components.promotion.published import challenger_file, champion_file, published
from components.tracking.registry import BUILD_TAG, CHAMPION, fault_of
from serving.bundle import MANIFEST, BundleError, BundleId, identify, verify_bundle
from tests.promotion.bundles import make_bundle, note, register, registry
from tests.tiny_bundles import as_before, rebuild

PROVED = {"num_golden": 20, "num_other": 0, "max_difference": 0.0}


def package(root: Path, bundle: Path, **changed: Any) -> Path:
    """Leave a bundle where the stage package does; gives its folder there."""
    identity = identify(bundle)
    report = {"digest": identity.version, "build": identity.build, **PROVED, **changed}
    with writing(root / "artifacts/tiny/package") as folder:
        shutil.copytree(bundle, folder / "bundle")
        write_json(folder / "report.json", report)
    return root / "artifacts/tiny/package/bundle"


def mended(root: Path, *, card: str = "# mended\n") -> Path:
    """The champion's model with another service, packaged."""
    return package(root, rebuild(root / "made/first", root / "made" / card.strip("# \n"), card=card))


def served(root: Path) -> str:
    """The build that the file for the service and the ledger agree on."""
    told = published(root, "tiny")
    assert told is not None
    assert fault_of(Path(told.bundle), BundleId(told.digest, told.build)) is None
    assert told.tag == f"tiny:{told.digest[:12]}-{told.build[:12]}"
    assert verify(root) == []
    changed = [entry for entry in entries(root, "tiny") if entry["action"] != "refuse"]
    assert changed[-1]["to"]["build"] == told.build
    return told.build


def test_build_of_the_champion_is_taken_without_a_gate_and_noted(project: Path) -> None:
    champion_of(project, "tiny")
    before = served(project)
    bundle = mended(project)
    decision = take_build(project, "tiny", through="test")
    assert (decision.state, decision.version, decision.figures) == ("rebuilt", 1, {})
    assert served(project) == identify(bundle).build != before
    assert (Path(published(project, "tiny").bundle) / "card.md").read_text() == "# mended\n"  # pyright: ignore[reportOptionalMemberAccess]
    assert [version.number for version in registry(project).versions()] == [3, 2, 1]
    assert registry(project).at(CHAMPION) == registry(project).version(1)
    line = entries(project, "tiny")[-1]
    assert (line["action"], line["from"]["build"], line["figures"]) == ("build", before, PROVED)
    assert line["from"]["digest"] == line["to"]["digest"]
    assert "the same 20 golden answers" in line["reason"]
    assert take_build(project, "tiny", through="test").state == "unchanged"
    assert len(entries(project, "tiny")) == 2


def test_going_back_to_the_service_of_before_is_a_build_too(project: Path) -> None:
    champion_of(project, "tiny")
    before = served(project)
    mended(project)
    take_build(project, "tiny", through="test")
    package(project, project / "made/first")
    assert champion_of(project, "tiny") is not None  # whoever looks at the champion takes it
    assert served(project) == before
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt", "build", "build"]


def test_what_is_served_stays_when_another_model_is_packaged(project: Path) -> None:
    champion_of(project, "tiny")
    mended(project)
    take_build(project, "tiny", through="test")
    build = served(project)
    package(project, project / "made/second")
    with pytest.raises(InputError, match=r"no build of version 1 of tiny is packaged here: .* of another model"):
        take_build(project, "tiny", through="test")
    champion_of(project, "tiny")
    assert served(project) == build  # which the registry does not have: it was packaged and not registered
    shutil.rmtree(project / ".modelyard/champions/tiny")
    champion_of(project, "tiny")
    assert served(project) == registry(project).version(1).build
    assert "the registry has this one" in entries(project, "tiny")[-1]["reason"]


def test_damaged_package_is_not_taken(project: Path) -> None:
    champion_of(project, "tiny")
    build = served(project)
    (mended(project) / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="is damaged, or is being written"):
        take_build(project, "tiny", through="test")
    shutil.rmtree(project / "artifacts/tiny/package")
    with pytest.raises(InputError, match="holds no bundle"):
        take_build(project, "tiny", through="test")
    assert served(project) == build


def test_damaged_package_is_left_aside_with_the_reason(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    champion_of(project, "tiny")
    (mended(project) / "model.onnx").write_bytes(b"")
    version = registry(project).version(1)
    caplog.clear()
    assert packaged_build(project, version) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the packaged build of tiny is left aside: " in record.getMessage()
    assert "model.onnx is not the file that was recorded" in record.getMessage()
    caplog.clear()
    shutil.rmtree(project / "artifacts/tiny/package")
    assert packaged_build(project, version) is None
    assert caplog.records == []  # there is nothing to tell of


def of_another_model(root: Path) -> Path:
    """The champion's model.json beside another model, with a manifest and a list of files to match."""
    bundle = rebuild(root / "made/first", root / "made/false", card="# false\n")
    shutil.copy(root / "made/third/model.onnx", bundle)
    manifest = read_json(bundle / MANIFEST)
    manifest["files"]["model.onnx"] = sha256_of(bundle / "model.onnx")
    write_json(bundle / MANIFEST, manifest)
    return package(root, bundle)


def test_bundle_that_holds_another_model_than_it_says_is_never_served(project: Path, tmp_path: Path) -> None:
    champion_of(project, "tiny")
    build = served(project)
    false = of_another_model(project)
    identity = identify(false)
    assert identity.version == registry(project).version(1).digest
    with pytest.raises(InputError, match="is damaged"):
        take_build(project, "tiny", through="test")
    with pytest.raises(BundleError, match=r"model.json is of another model.onnx"):
        verify_bundle(false)
    with pytest.raises(ArtifactError, match=r"model.json is of another model.onnx"):
        copy_bundle(false, tmp_path / "copy", identity)
    value = {"digest": identity.build, "model_id": None, "source": f"file://{false}"}
    registry(project).client.set_model_version_tag("tiny", "1", BUILD_TAG, json.dumps(value))
    with pytest.raises(ArtifactError, match=r"model.json is of another model.onnx"):
        registry(project).bring(registry(project).version(1), tmp_path / "brought")
    champion_of(project, "tiny")
    assert served(project) == build


@pytest.mark.parametrize("changed", [{"num_other": 1}, {"build": "0" * 64}])
def test_build_that_was_not_proved_is_not_taken(project: Path, changed: dict[str, Any]) -> None:
    champion_of(project, "tiny")
    build = served(project)
    package(project, rebuild(project / "made/first", project / "made/again", card="# again\n"), **changed)
    with pytest.raises(InputError, match="no build of version 1"):
        take_build(project, "tiny", through="test")
    assert served(project) == build


def test_bundle_that_changes_while_it_is_copied_is_an_error_in_words(project: Path, tmp_path: Path) -> None:
    bundle = mended(project)
    (bundle / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="changed while it was copied"):
        copy_bundle(bundle, tmp_path / "copy", identify(bundle))
    assert list(tmp_path.glob("*copy*")) == []


def test_challenger_is_named_in_its_packaged_build(project: Path) -> None:
    champion_of(project, "tiny")
    again = package(project, rebuild(project / "made/third", project / "made/again", card="# again\n"))
    decision = take_build(project, "tiny", through="test")
    assert (decision.state, "'modelyard promote tiny' judges it" in decision.why) == ("unchanged", True)
    named = read_json(challenger_file(project, "tiny"))
    assert (named["version"], named["build"]) == (3, identify(again).build)
    assert len(entries(project, "tiny")) == 1


@pytest.mark.parametrize("written", ["[]", '{"version": 2}', "{", '{"version": 2, "digest": "d", "more": 1}'])
def test_file_for_the_service_that_names_nothing_is_written_anew(project: Path, written: str) -> None:
    champion_of(project, "tiny")
    champion_file(project, "tiny").write_text(written)
    assert published(project, "tiny") is None
    champion_of(project, "tiny")
    assert served(project) == registry(project).version(1).build


def test_registry_gives_the_build_that_is_served_again(project: Path) -> None:
    champion_of(project, "tiny")
    first = registry(project).version(1)
    again = rebuild(project / "made/first", project / "made/again", card="# again\n")
    assert register(project, again) == 1
    package(project, again)
    champion_of(project, "tiny")
    assert registry(project).version(1).build == served(project) == identify(again).build
    package(project, project / "made/first")  # from DVC's cache: nothing is registered
    champion_of(project, "tiny")
    assert registry(project).version(1) == first
    assert registry(project).client.get_registered_model("tiny").description == "# tiny\n"


def test_registered_build_is_brought_where_nothing_is_packaged(project: Path) -> None:
    champion_of(project, "tiny")
    again = rebuild(project / "made/first", project / "made/again", card="# again\n")
    assert register(project, again) == 1
    champion_of(project, "tiny")
    told = published(project, "tiny")
    assert told is not None
    assert told.build == identify(project / "made/first").build  # what is served and whole is served on
    shutil.rmtree(project / ".modelyard/champions")
    champion_of(project, "tiny")
    assert served(project) == identify(again).build


def test_promotion_and_rollback_take_each_version_in_its_build(project: Path) -> None:
    champion_of(project, "tiny")
    mended(project)
    take_build(project, "tiny", through="test")
    build = served(project)
    promote(project, "tiny", number=2, force="test", through="test")
    assert served(project) == registry(project).version(2).build
    package(project, project / "made/second")
    rollback(project, "tiny", number=None, through="test")
    told = published(project, "tiny")
    assert told is not None
    assert told.version == 1
    assert served(project) == build != registry(project).version(1).build  # in which it was served last
    (Path(told.bundle) / "model.onnx").write_bytes(b"")
    champion_of(project, "tiny")
    assert served(project) == registry(project).version(1).build


def test_build_is_no_judgement_of_its_version(project: Path) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    package(project, rebuild(project / "made/second", project / "made/again", card="# again\n"))
    assert take_build(project, "tiny", through="test").version == 2
    registry(project).client.set_registered_model_alias("tiny", "challenger", "3")
    champion_of(project, "tiny")
    assert read_json(challenger_file(project, "tiny"))["version"] == 3
    package(project, project / "made/third")
    digest = registry(project).version(1).digest
    assert promote_made(project, "tiny", digest=digest, through="test").why.startswith("version 1 was decided on")


KILL = """
import os, signal, sys
from pathlib import Path
from components.promotion import champions, decide

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before the file":
    champions.publish = die
else:
    champions.record = die
decide.take_build(Path(sys.argv[1]), "tiny", through="test")
"""


@pytest.mark.parametrize("moment", ["before the line", "before the file"])
def test_killed_change_of_build_is_finished_and_noted_once(project: Path, moment: str) -> None:
    champion_of(project, "tiny")
    bundle = mended(project)
    done = subprocess.run([sys.executable, "-c", KILL, str(project), moment], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    champion_of(project, "tiny")
    assert served(project) == identify(bundle).build
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt", "build"]


def test_version_of_an_earlier_release_is_its_bundle(project: Path) -> None:
    """One digest named model and service, in the registry, in the ledger and for the service."""
    bundle = make_bundle(project, project / "made/old", note("old"))
    as_before(bundle)
    number = register(project, bundle)
    registry(project).client.delete_model_version_tag("tiny", str(number), BUILD_TAG)
    promote(project, "tiny", number=number, force="test", through="test")
    told = published(project, "tiny")
    assert told is not None
    assert told.digest == told.build == identify(bundle).version
    assert told.tag == f"tiny:{told.digest[:12]}"
    path = champion_file(project, "tiny")
    write_json(path, {name: value for name, value in read_json(path).items() if name != "build"})
    before = published(project, "tiny")
    assert before == told
    champion_of(project, "tiny")
    assert entries(project, "tiny")[-1]["action"] == "force"
    assert rollback(project, "tiny", number=None, through="test").version == 1
