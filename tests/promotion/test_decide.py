"""Promotion and rollback on a real registry, whatever becomes of the process."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.monitoring.origins import bundle_of
from components.plumbing.artifacts import files_of
from components.plumbing.errors import ArtifactError, InputError, ParamsError, PromotionError, StoreError
from components.promotion.champions import intent_file
from components.promotion.decide import champion_of, promote, promote_made, rollback, take_build
from components.promotion.ledger import HEAD, LEDGER, entries, verify
from components.promotion.published import champion_file, published
from components.tracking.place import folder_of, former_places
from components.tracking.registry import CHALLENGER, CHAMPION, CHAMPIONS, fault_of
from components.tracking.store import Store
from flows.operate.doctor import look_at_champions
from serving.bundle import MANIFEST, BundleId, identify
from tests.patience import PATIENCE_S
from tests.projects import edit
from tests.promotion.bundles import make_bundle, note, register, registry


def champion(root: Path) -> int:
    """The one number that the registry, the ledger and the file for the service agree on."""
    found = registry(root).at(CHAMPION)
    told = published(root, "tiny")
    assert found is not None
    assert told is not None
    assert found.number == told.version == decided(root)[-1]["to"]["version"]
    assert fault_of(Path(told.bundle), BundleId(told.digest, told.build)) is None
    assert told.tag == f"tiny:{told.digest[:12]}-{told.build[:12]}"
    assert verify(root) == []
    assert not intent_file(root, "tiny").exists()
    return found.number


def decided(root: Path) -> list[dict]:
    return [entry for entry in entries(root, "tiny") if entry["action"] != "refuse"]


def test_challenger_that_is_as_good_becomes_champion(project: Path) -> None:
    decision = promote(project, "tiny", number=2, force=None, through="test")
    assert (decision.state, decision.before, decision.version) == ("promoted", 1, 2)
    assert champion(project) == 2
    first, second = entries(project, "tiny")
    assert (first["action"], first["from"], first["to"]["version"]) == ("adopt", None, 1)
    assert (second["action"], second["from"]["version"], second["to"]["version"]) == ("promote", 1, 2)
    figures = second["figures"]
    assert figures["metric"] == "accuracy"
    assert figures["champion"] == figures["challenger"] > 0.8
    assert (figures["drop_low"], figures["drop_high"], figures["size_ratio"]) == (0.0, 0.0, 1.0)
    assert second["through"] == "test"
    assert second["by"]
    again = promote(project, "tiny", number=2, force=None, through="test")
    assert again.state == "unchanged"
    assert len(entries(project, "tiny")) == 2


def test_worse_challenger_is_refused_and_the_champion_stays(project: Path) -> None:
    with pytest.raises(
        PromotionError, match=r"version 3 does not take the place of version 1: accuracy 0\.\d+"
    ) as caught:
        promote(project, "tiny", number=None, force=None, through="test")
    assert caught.value.exit_code == 3
    assert caught.value.report["drop_low"] > 0.03
    assert "rows of label" in str(caught.value)
    assert champion(project) == 1
    refused = entries(project, "tiny")[-1]
    assert (refused["action"], refused["from"]["version"], refused["to"]["version"]) == ("refuse", 1, 3)
    challenger = registry(project).at(CHALLENGER)
    assert challenger is not None
    assert challenger.number == 3


def test_forced_promotion_keeps_its_reason(project: Path) -> None:
    with pytest.raises(InputError, match="needs a reason"):
        promote(project, "tiny", number=None, force=" ", through="test")
    decision = promote(project, "tiny", number=None, force="on purpose", through="test")
    assert (decision.version, decision.figures) == (3, {})
    assert champion(project) == 3
    assert entries(project, "tiny")[-1]["action"] == "force"
    assert entries(project, "tiny")[-1]["reason"] == "on purpose"
    assert registry(project).at(CHALLENGER) is None
    with pytest.raises(InputError, match="tiny has no challenger: version 3 is the champion"):
        promote(project, "tiny", number=None, force=None, through="test")


def test_rollback_goes_one_champion_back_each_time(project: Path) -> None:
    with pytest.raises(InputError, match="no champion before version 1"):
        rollback(project, "tiny", number=None, through="test")
    for number in (2, 3):
        promote(project, "tiny", number=number, force="test", through="test")
    assert rollback(project, "tiny", number=None, through="test", reason="errors").version == 2
    assert champion(project) == 2
    assert rollback(project, "tiny", number=None, through="test").version == 1
    assert champion(project) == 1
    with pytest.raises(InputError, match="no champion before version 1"):
        rollback(project, "tiny", number=None, through="test")
    assert rollback(project, "tiny", number=3, through="test").version == 3
    assert champion(project) == 3
    reasons = [entry["reason"] for entry in entries(project, "tiny") if entry["action"] == "rollback"]
    assert reasons == ["errors", "asked for", "asked for"]


def test_ledger_that_was_changed_stops_what_goes_by_it(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    ledger = project / LEDGER
    ledger.write_text(ledger.read_text().replace('"reason": "test"', '"reason": "tesT"'))
    for decide in (
        lambda: promote(project, "tiny", number=3, force="on purpose", through="test"),
        lambda: promote(project, "tiny", number=None, force=None, through="test"),
        lambda: rollback(project, "tiny", number=None, through="test"),
        lambda: take_build(project, "tiny", through="test"),
    ):
        with pytest.raises(ArtifactError, match=r"is not as it was written: line \d was changed.* from a copy"):
            decide()
    crowned = registry(project).at(CHAMPION)
    assert crowned is not None
    assert crowned.number == 2
    assert rollback(project, "tiny", number=1, through="test").version == 1  # in need, by its number
    assert "is not as it was written" in caplog.text
    for name in (LEDGER, HEAD):  # as the error says
        (project / name).rename(project / f"{name}.away")
    assert promote(project, "tiny", number=2, force="on purpose", through="test").version == 2
    assert verify(project) == []


def test_moved_project_goes_on_with_its_own_files(project: Path, versions: Path, tmp_path: Path) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    assert former_places(project) == []  # a copy of the other project, whose files are there still
    moved = tmp_path / "moved, ü"
    project.rename(moved)
    shutil.rmtree(moved / CHAMPIONS, ignore_errors=True)
    (place,) = former_places(moved)
    assert folder_of(place) == project
    assert rollback(moved, "tiny", number=None, through="test").version == 1
    assert former_places(moved) == []
    third = registry(moved).version(3)
    assert folder_of(third.source).is_relative_to(moved)
    registry(moved).bring(third, tmp_path / "third")
    weights = registry(moved).champion_weights()
    assert weights
    assert registry(moved).bring_weights(weights, tmp_path / "weights").is_dir()
    run = Store(moved, "tiny").client.create_run(Store(moved, "tiny").experiment_id)
    assert folder_of(run.info.artifact_uri or "").is_relative_to(moved)
    assert not project.exists()
    assert folder_of(registry(versions).version(3).source).is_relative_to(versions)


def test_copy_without_the_files_says_how_to_bring_them(project: Path, tmp_path: Path) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    copied = Path(shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts")))
    with pytest.raises(StoreError, match=r"was copied here without the files that it names") as found:
        rollback(copied, "tiny", number=None, through="test")
    command = re.findall(r"'(cp -r .*?)'", str(found.value))
    subprocess.run(command[0], shell=True, check=True)
    assert rollback(copied, "tiny", number=None, through="test").version == 1


@pytest.mark.parametrize(
    ("number", "message"), [(1, "is the champion already"), (9, "has no version 9; it has: 1, 2, 3")]
)
def test_rollback_to_what_makes_no_sense_is_refused(project: Path, number: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rollback(project, "tiny", number=number, through="test")


def test_loop_judges_a_version_once(project: Path) -> None:
    versions = {version.number: version for version in registry(project).versions()}
    with pytest.raises(PromotionError):
        promote_made(project, "tiny", digest=versions[3].digest, through="retrain")
    again = promote_made(project, "tiny", digest=versions[3].digest, through="retrain")
    assert again.state == "unchanged"
    assert "version 3 was decided on before (refuse" in again.why
    assert promote_made(project, "tiny", digest=versions[1].digest, through="retrain").state == "unchanged"
    assert promote_made(project, "tiny", digest=versions[2].digest, through="retrain").state == "promoted"
    rollback(project, "tiny", number=None, through="test")
    assert promote_made(project, "tiny", digest=versions[2].digest, through="retrain").state == "unchanged"
    with pytest.raises(InputError, match="is not in the model registry"):
        promote_made(project, "tiny", digest="0" * 64, through="retrain")


def test_alias_that_was_set_by_hand_is_written_down(project: Path) -> None:
    champion_of(project, "tiny")
    registry(project).client.set_registered_model_alias("tiny", CHAMPION, "2")
    told = champion_of(project, "tiny")
    assert told is not None
    assert told.version == champion(project) == 2
    assert entries(project, "tiny")[-1]["reason"] == "the alias was set in the registry"


def packaged(root: Path, made: str) -> None:
    """One of the fixture's bundles, as if package had made it last."""
    folder = root / "artifacts/tiny/package"
    folder.mkdir(parents=True, exist_ok=True)
    digest = identify(root / "made" / made).version
    (folder / "report.json").write_text(json.dumps({"digest": digest}))


def without_registry(root: Path) -> Path:
    """The project in another place, for this process keeps the store open, and without the store."""
    ignored = shutil.ignore_patterns("mlflow.db*", "*.registered")
    return Path(shutil.copytree(root, root.parent / "lost", ignore=ignored))


def test_lost_registry_says_what_brings_the_champion_back(project: Path) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    packaged(project, "second")
    assert [check.state for check in look_at_champions(project)] == ["ok"]
    project = without_registry(project)
    mended = r"mlflow.db back from a copy, or 'modelyard run tiny --force package' registers the packaged bundle"
    (check,) = look_at_champions(project)
    assert check.state == "fail"
    assert re.search(mended + r" \(\w{12}\) again, unless", check.mend)
    packaged(project, "third")
    assert look_at_champions(project)[0].mend.rpartition(", ")[0].endswith(") in its place")
    assert not (project / "mlflow.db").exists()
    lost = r"the ledger names version 2 \(\w{12}\) of tiny the champion, and the model registry lacks it; bring .*"
    with pytest.raises(InputError, match=lost + mended):
        promote(project, "tiny", number=None, force=None, through="test")
    with pytest.raises(InputError, match=lost + mended):
        promote(project, "tiny", number=2, force=None, through="test")
    with pytest.raises(InputError, match=lost + mended):
        rollback(project, "tiny", number=None, through="test")
    assert len(decided(project)) == 2

    register(project, project / "made/second")
    assert [check.state for check in look_at_champions(project)] == ["ok"]
    champion_of(project, "tiny")
    assert champion(project) == 1
    adopted = entries(project, "tiny")[-1]
    assert (adopted["action"], adopted["from"]["version"], adopted["to"]["version"]) == ("adopt", 2, 1)
    assert adopted["from"]["digest"] == adopted["to"]["digest"]
    assert adopted["reason"] == "the registry has the bundle of version 2 as version 1 now"


def test_rollback_never_takes_a_number_that_means_another_bundle_now(project: Path) -> None:
    promote(project, "tiny", number=2, force="test", through="test")
    project = without_registry(project)
    second, third = (project / "made" / name for name in ("second", "third"))
    assert (register(project, second), register(project, third)) == (1, 2)
    with pytest.raises(InputError, match=r"before this one, version 1 \(\w{12}\), is no longer in the model registry"):
        rollback(project, "tiny", number=None, through="test")
    assert champion(project) == 1
    assert promote(project, "tiny", number=2, force="test", through="test").before == 1
    back = rollback(project, "tiny", number=None, through="test")
    assert (back.version, back.tag) == (1, f"tiny:{identify(second).label}")
    assert champion(project) == 1


def test_other_bundle_under_the_champions_number_is_written_down(project: Path) -> None:
    champion_of(project, "tiny")
    project = without_registry(project)
    register(project, project / "made/second")
    champion_of(project, "tiny")
    assert champion(project) == 1
    assert entries(project, "tiny")[-1]["reason"].startswith("the registry no longer has version 1 (")


def test_registry_without_a_version_names_what_registers_the_packaged_bundle(project: Path) -> None:
    project = without_registry(project)
    with pytest.raises(InputError, match=r"has no version in the model registry; 'modelyard run tiny' makes one"):
        promote(project, "tiny", number=None, force=None, through="test")
    packaged(project, "first")  # as 'dvc pull' brings it into a fresh clone
    forced = r"has no version in .*; 'modelyard run tiny --force package' registers the packaged bundle \(\w{12}\)"
    with pytest.raises(InputError, match=forced):
        promote(project, "tiny", number=None, force=None, through="test")
    with pytest.raises(InputError, match=forced):
        rollback(project, "tiny", number=None, through="test")


def test_version_that_was_rolled_back_is_named_as_the_one_to_promote(project: Path) -> None:
    promote(project, "tiny", number=3, force="test", through="test")
    rollback(project, "tiny", number=None, through="test")
    said = (
        "version 1 is the champion, and version 3 was rolled back; 'modelyard promote tiny --version 3' judges it again"
    )
    with pytest.raises(InputError, match=said):
        promote(project, "tiny", number=None, force=None, through="test")


def test_recipe_without_margins_is_told_what_to_add(project: Path) -> None:
    edit(project, "tiny.monitoring", None)
    edit(project, "tiny.promotion", None)
    with pytest.raises(ParamsError, match=r"recipes.tiny has no section 'promotion'"):
        promote(project, "tiny", number=2, force=None, through="test")


def test_damaged_bundle_of_the_registry_is_never_served(project: Path, tmp_path: Path) -> None:
    number = register(project, make_bundle(project, tmp_path / "fourth", note("fourth")))
    kept = registry(project).version(number)
    path = Path(kept.bundle.removeprefix("file://"))
    with (path / "model.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\x00")
    with pytest.raises(ArtifactError, match=r"bundle of version 4 of tiny is not .*: model.onnx is another"):
        promote(project, "tiny", number=number, force="test", through="test")
    assert champion(project) == 1
    path.joinpath(MANIFEST).unlink()
    with pytest.raises(ArtifactError, match=r"manifest.json is missing"):
        promote(project, "tiny", number=number, force="test", through="test")


def test_damaged_copy_on_this_machine_is_brought_again(project: Path) -> None:
    told = champion_of(project, "tiny")
    assert told is not None
    (Path(told.bundle) / "model.onnx").write_bytes(b"")
    assert champion_of(project, "tiny") == told
    assert fault_of(Path(told.bundle), BundleId(told.digest, told.build)) is None


def test_monitor_finds_what_was_promoted_while_it_is_whole(project: Path) -> None:
    told = champion_of(project, "tiny")
    assert told is not None
    assert bundle_of(project, "tiny", told.digest[:12]) == Path(told.bundle)
    (Path(told.bundle) / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=rf"tiny:{told.digest[:12]}, which is neither in .* nor, whole, in"):
        bundle_of(project, "tiny", told.digest[:12])


KILL = """
import os, signal, sys
from pathlib import Path
from components.promotion import champions, decide
from components.tracking.registry import Registry

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_after(call):
    def wrapped(*args, **options):
        call(*args, **options)
        die()
    return wrapped

moment = sys.argv[2]
if moment == "before the alias":
    Registry.crown = die
elif moment == "after the alias":
    Registry.crown = killed_after(Registry.crown)
elif moment == "after the line":
    champions.record = killed_after(champions.record)
elif moment == "after the file":
    champions.publish = killed_after(champions.publish)
decide.settle = lambda root, registry: registry.at("champion")
decide.promote(Path(sys.argv[1]), "tiny", number=2, force="test", through="test")
"""


@pytest.mark.parametrize(
    ("moment", "expected"),
    [("before the alias", 1), ("after the alias", 2), ("after the line", 2), ("after the file", 2)],
)
def test_killed_promotion_is_whole_or_nothing(project: Path, moment: str, expected: int) -> None:
    champion_of(project, "tiny")
    done = subprocess.run([sys.executable, "-c", KILL, str(project), moment], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert intent_file(project, "tiny").is_file()
    champion_of(project, "tiny")
    assert champion(project) == expected
    assert len(decided(project)) == expected
    assert promote(project, "tiny", number=3, force="on", through="test").before == expected
    assert champion(project) == 3


@pytest.mark.long
def test_two_promotions_at_once_come_one_after_the_other(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.promotion.decide import promote\n"
        "promote(Path(sys.argv[1]), 'tiny', number=int(sys.argv[2]), force='race', through='test')\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(project), number]) for number in ("2", "3")]
    assert [one.wait(timeout=3 * PATIENCE_S) for one in both] == [0, 0]
    last = champion(project)
    moves = [(entry["from"] and entry["from"]["version"], entry["to"]["version"]) for entry in decided(project)]
    other = {2: 3, 3: 2}[last]
    assert moves == [(None, 1), (1, other), (other, last)]


def test_file_for_the_service_is_whole_at_any_time(project: Path) -> None:
    champion_of(project, "tiny")
    told = json.loads(champion_file(project, "tiny").read_text())
    assert set(told) == {"version", "digest", "build", "tag", "bundle"}
    assert files_of(Path(told["bundle"])) == files_of(project / "made/first")
