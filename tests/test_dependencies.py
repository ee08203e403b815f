"""What an edit of the code makes run again, as DVC tells it: what uses that code, and nothing else.

Every stage of every recipe counts as having run; its outputs are stand-ins, since only its dependencies are asked for.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.recipes import load_yaml
from tests.projects import CODE, ROOT, run

RECIPES: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]
LOADED = ("movie_sentiment", "movie_sentiment_small")
TEXTS, LANGUAGE = (*LOADED, "review_sentiment_zh"), ("speech_gpt", "speech_lstm")
ARRAYS = ("digits", "wide_mlp")
TRAININGS, JUDGING = ("pretrain", "finetune"), ("evaluate", "compress")
SERVED = (*JUDGING, "package")

pytestmark = pytest.mark.long  # DVC looks at every file of every recipe, for each edit

EDITS: dict[str, set[str]] = {
    # of one task
    "components/tasks/text_generation/evaluate/kneser_ney.py": {f"evaluate@{name}" for name in LANGUAGE},
    "components/tasks/array_classification/compress.py": {f"compress@{name}" for name in ARRAYS},
    "components/tasks/text_classification/preprocess.py": {f"preprocess@{name}" for name in TEXTS},
    "components/tasks/image_generation/judging/frechet.py": {f"{stage}@digit_gan" for stage in JUDGING},
    "components/tasks/image_generation/duel.py": set(),
    "serving/tasks/text_classification/endpoint.py": {f"package@{name}" for name in TEXTS},
    "serving/tasks/text_generation/form.js": {f"package@{name}" for name in LANGUAGE},
    "serving/tasks/image_generation/predictor.py": {f"{stage}@digit_gan" for stage in (*JUDGING, "package")},
    # of one family, one objective, one mode
    "components/models/gan/network.py": {f"{stage}@digit_gan" for stage in (*TRAININGS, *JUDGING)},
    "components/models/lstm/export.py": {f"{stage}@speech_lstm" for stage in (*TRAININGS, *JUDGING)},
    "components/objectives/masked.py": {"pretrain@review_sentiment_zh"},
    "components/objectives/causal.py": {f"pretrain@{name}" for name in LANGUAGE},
    "components/pretrain/load.py": {f"pretrain@{name}" for name in LOADED},
    "components/finetune/adapt.py": {f"finetune@{name}" for name in TEXTS},
    # that all share
    "components/training/loop.py": {f"{stage}@{name}" for stage in (*TRAININGS, "compress") for name in RECIPES},
    "components/sources/web.py": {f"ingest@{name}" for name in RECIPES},
    "serving/requests/answering.py": {f"package@{name}" for name in RECIPES},
    "components/preprocess/split.py": {f"preprocess@{name}" for name in RECIPES},
    "components/evaluate/bootstrap.py": {f"{stage}@{name}" for stage in JUDGING for name in RECIPES},
    "components/evaluate/classification/page.py": {f"evaluate@{name}" for name in RECIPES},
    "components/export/int8.py": {f"{stage}@{name}" for stage in JUDGING for name in RECIPES},
    "components/compress/choice.py": {f"compress@{name}" for name in RECIPES},
    "components/package/gates.py": {f"package@{name}" for name in RECIPES},
    "serving/predictors/text.py": {f"{stage}@{name}" for stage in ("preprocess", *SERVED) for name in RECIPES},
    "serving/predictors/pictures.py": {f"{stage}@{name}" for stage in ("pretrain", *SERVED) for name in RECIPES},
    "serving/predictors/scores.py": {f"{stage}@{name}" for stage in SERVED for name in RECIPES},
    # the tables of what is loaded by its name: a new family, objective, mode or task changes no other recipe
    "components/models/networks.py": set(),
    "components/objectives/__init__.py": set(),
    "components/pretrain/modes.py": set(),
    "components/finetune/modes.py": set(),
    "components/tasks/__init__.py": set(),
    # that no stage reads
    "components/summary.py": set(),
    "components/tracking/tracker.py": set(),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project's code and recipes, as if everything had run."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("dependencies") / "project"
    folder.mkdir()
    for name in (*CODE, "params.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    run(["git", "init", "-q", "."], folder)
    run(["dvc", "init", "-q"], folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with Repo(str(folder)) as repo:
            named = {Path(one.fs_path) for stage in repo.index.stages for one in (*stage.deps, *stage.outs)}
            for path in sorted(named, key=lambda one: (-len(one.parts), one)):  # what lies in an output before it
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(str(path.relative_to(folder)))
            repo.commit(force=True)
        yield folder
    finally:
        os.chdir(before)


def changed(folder: Path) -> set[str]:
    """The stages of which DVC finds a dependency changed."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        found: dict[str, Any] = repo.status()
    return {
        stage for stage, said in found.items() if any("changed deps" in one for one in said if isinstance(one, dict))
    }


def test_nothing_is_changed_before_an_edit(project: Path) -> None:
    assert changed(project) == set()


@pytest.mark.parametrize("edited", EDITS)
def test_an_edit_changes_what_uses_the_code_and_nothing_else(project: Path, edited: str) -> None:
    path = project / edited
    before = path.read_bytes()
    path.write_bytes(before + b"\n# edited\n")
    try:
        assert changed(project) == EDITS[edited]
    finally:
        path.write_bytes(before)


def test_why_names_what_follows_an_edit(project: Path) -> None:
    path = project / "components/tasks/text_generation/evaluate/kneser_ney.py"
    before = path.read_bytes()
    path.write_bytes(before + b"\n# edited\n")
    try:
        said = run(["modelyard", "why", "speech_gpt"], project).stdout
    finally:
        path.write_bytes(before)
    assert "components/tasks/text_generation/evaluate" in said
    told = {words[0]: words[1] for words in map(str.split, said.splitlines()[1:9]) if len(words) > 1}
    assert {stage for stage, state in told.items() if state == "would"} == {"evaluate", "compress", "package"}
