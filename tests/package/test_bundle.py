import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import serving
from components.package.bento import tag_of
from components.package.bundle import made_from, write_bundle
from components.package.smoke import Golden, read_golden
from components.params import TextClassificationServing
from components.plumbing.artifacts import read_json, sha256_of, write_json
from components.plumbing.errors import ArtifactError
from components.tasks import task_of
from serving.bundle import identify, load_about
from serving.tasks import endpoint_of
from tests.tiny_model import EVALUATED

SERVING = TextClassificationServing(
    task="text_classification",
    threads=1,
    max_texts=4,
    max_text_length=100,
    max_body_bytes=10_000,
    max_requests=8,
    max_read_ms=1000,
    max_latency_ms=1000,
)


@pytest.fixture
def write(compressed: Path) -> Callable[[Path], Path]:
    artifacts = compressed / "artifacts/tiny"

    def bundle(folder: Path) -> Path:
        reports = {
            "card": {"licence": "CC0", "num_rows": 300},
            "verdict": {"passed": True},
            "evaluated": EVALUATED,
            "compressed": read_json(artifacts / "compress/report.json"),
        }
        write_bundle(
            folder, recipe="tiny", model=artifacts / "compress/model", golden=golden(compressed, limit=10),
            serving=SERVING, project=compressed, reports=reports, drop=task_of(SERVING.task).drop,
            page=artifacts / "evaluate/results/report.html",
        )  # fmt: skip
        return folder

    return bundle


def golden(root: Path, *, limit: int) -> list[Golden]:
    return read_golden(root / "artifacts/tiny/compress/results/golden.json", limit=limit)


def test_bundle_holds_serving_the_model_and_what_describes_them(write: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    source = Path(serving.__path__[0])
    ends = {".py", ".html", ".css", ".js", ".svg"}  # the page's parts too
    code = {f"serving/{path.relative_to(source).as_posix()}" for path in source.rglob("*") if path.suffix in ends}
    own = {path for path in code if path.startswith("serving/tasks/text_classification/")}
    assert {Path(path).name for path in own} == {
        "__init__.py", "endpoint.py", "explaining.py", "predictor.py", "form.html", "form.js"
    }  # fmt: skip
    others = {path for path in code if path.startswith("serving/tasks/") and path.count("/") > 2} - own
    code -= others
    assert "serving/page/page.html" in code
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    model = {"batching.json", "model.onnx", "tokenizer.json", "predictor.json"}
    described = {"manifest.json", "model.json", "card.md", "report.html", "golden.json", "service.json"}
    described |= {"bentofile.yaml"}
    assert files == code | model | described
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]


def test_manifest_names_every_other_file(write: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    files = [path for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert read_json(bundle / "manifest.json")["files"] == {
        path.relative_to(bundle).as_posix(): sha256_of(path) for path in files
    }


def test_version_names_the_model_and_what_it_was_made_from(write: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    model: dict[str, Any] = read_json(bundle / "model.json")
    assert identify(bundle).version == sha256_of(bundle / "model.json")
    assert model["files"] == {
        name: sha256_of(bundle / name)
        for name in ("batching.json", "golden.json", "model.onnx", "predictor.json", "tokenizer.json")
    }
    assert list(model["made_from"]) == sorted(
        ["ingest", "validate", "preprocess", "pretrain", "finetune", "evaluate", "compress"]
    )
    assert model["made_from"]["finetune"]["params"]["batch_size"] == 16
    assert list(model["made_from"]["ingest"]["outs"]) == ["artifacts/tiny/ingest/card.json"]
    assert model["stages"] == [
        "ingest", "validate", "preprocess", "pretrain", "finetune", "evaluate", "compress",
    ]  # fmt: skip
    assert model["contract"] == {"passed": True}
    assert model["metrics"]["evaluate"]["accuracy"] == 0.99
    assert model["task"] == "text_classification"
    assert model["predictor"]["labels"] == ["negative", "positive"]


def test_service_is_part_of_the_build_and_not_of_the_version(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(tmp_path / "one")
    source = shutil.copytree(Path(serving.__path__[0]), tmp_path / "code/serving")
    with (source / "requests/reading.py").open("a") as file:
        file.write("# a fix\n")
    monkeypatch.setattr(serving, "__path__", [str(source)])
    mended = write(tmp_path / "mended")
    monkeypatch.setattr("tests.package.test_bundle.SERVING", SERVING.model_copy(update={"max_requests": 9}))
    wider = write(tmp_path / "wider")
    assert len({identify(bundle).version for bundle in (one, mended, wider)}) == 1
    assert len({identify(bundle).build for bundle in (one, mended, wider)}) == 3
    assert len({tag_of(bundle) for bundle in (one, mended, wider)}) == 3


def test_page_is_part_of_the_build_and_not_of_the_version(
    compressed: Path, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    one = write(tmp_path / "one")
    page = compressed / "artifacts/tiny/evaluate/results/report.html"
    before = page.read_bytes()
    assert (one / "report.html").read_bytes() == before
    page.write_bytes(before + b"<!-- another look -->\n")
    try:
        other = write(tmp_path / "other")
    finally:
        page.write_bytes(before)
    assert identify(one).version == identify(other).version
    assert identify(one).build != identify(other).build
    assert "[report.html](report.html) beside this card" in (one / "card.md").read_text(encoding="utf-8")


def test_same_inputs_give_the_same_bytes_and_tag(write: Callable[[Path], Path], tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    assert tag_of(one) == tag_of(other)
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()
    assert str(tmp_path) not in (one / "manifest.json").read_text(encoding="utf-8")


def test_card_gives_the_figures(write: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    card = (bundle / "card.md").read_text(encoding="utf-8")
    assert "| accuracy | 0.99 | 0.97 to 1 |" in card
    num_test = read_json(bundle / "model.json")["metrics"]["compress"]["num_test"]
    assert f"On\nthe {num_test} rows of the test split,\nits accuracy is" in card
    assert "of the rows get the same" in card
    assert "| baseline accuracy | 0.9 |  |" in card
    assert "| evaluate | accuracy | 0.99 | at least 0.8 |" in card
    assert "| compress | speedup | passed | at least 0.01 |" in card
    assert "negative, positive" in card
    assert "At most 4 texts of 100 characters" in card
    assert "a 95% bootstrap interval" in card
    assert "{" not in card.replace('{"texts"', "").replace('{"text"', "")
    assert max(map(len, card.splitlines())) <= 120


def test_service_json_names_the_task_and_its_limits(write: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    about = load_about(bundle)
    assert (about.name, about.task) == ("tiny", "text_classification")
    assert endpoint_of(about.task).Limits(**about.limits).max_texts == 4
    bentofile = YAML(typ="safe").load(bundle / "bentofile.yaml")
    assert [name.split("==")[0] for name in bentofile["python"]["packages"]] == [
        "bentoml", "httptools", "numpy", "onnxruntime", "tokenizers", "uvicorn", "uvloop",
    ]  # fmt: skip


def test_golden_requests_are_spread_over_those_of_compress(compressed: Path) -> None:
    every = read_json(compressed / "artifacts/tiny/compress/results/golden.json")
    assert golden(compressed, limit=1000) == every
    assert golden(compressed, limit=4) == [every[number] for number in (0, 20, 39, 59)]


def made_from_changed(compressed: Path, folder: Path, change: Callable[[Any], object]) -> dict[str, Any]:
    """What a bundle says it was made from, after a change of the stages in dvc.lock."""
    lock: Any = YAML(typ="safe").load(compressed / "dvc.lock")
    change(lock["stages"])
    shutil.copy(compressed / "dvc.yaml", folder)
    write_json(folder / "dvc.lock", lock)
    return made_from(folder, "tiny")


def test_first_bundle_is_made_from_what_the_next_ones_are(compressed: Path, tmp_path: Path) -> None:
    first = made_from_changed(compressed, tmp_path, lambda stages: stages.pop("package@tiny"))
    assert first == made_from(compressed, "tiny")
    assert list(first["evaluate"]["outs"]) == ["artifacts/tiny/evaluate/report.json"]


def test_lock_without_a_stage_says_which(compressed: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no entry finetune@tiny; run the stage through DVC"):
        made_from_changed(compressed, tmp_path, lambda stages: stages.pop("finetune@tiny"))


@pytest.mark.parametrize("text", [None, "", "stages: [", "schema: '2.0'"])
def test_lock_that_cannot_be_read_is_named(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "dvc.lock").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"dvc\.lock cannot be read"):
        made_from(tmp_path, "tiny")
