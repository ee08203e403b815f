"""Which of a bundle's golden requests the page offers."""

from pathlib import Path
from typing import Any

import pytest

from components.artifacts import write_json
from serving.page import golden_of, make_page
from serving.service import pages
from serving.tasks import endpoint_of
from serving.traffic import FOLDER, INPUT


def examples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    return endpoint_of(task).examples(golden_of(folder))


def texts(*labelled: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"request": {"texts": [text]}, "answer": [{"label": label}]} for label, text in labelled]


def test_every_label_comes_with_texts_that_can_be_read_at_a_glance(tmp_path: Path):
    good, long = "a text of which one knows what it says", "word " * 60
    write_json(
        tmp_path / "golden.json",
        texts(("a", "no"), ("a", long), ("a", f"{good} 1"), ("a", f"{good} 22"), ("a", f"{good} 333"), ("b", "b")),
    )
    assert [one["value"] for one in examples_of(tmp_path, "text_classification")] == [
        f"{good} 1", "b", f"{good} 22", f"{good} 333",
    ]  # fmt: skip
    write_json(tmp_path / "golden.json", texts(("a", long)))
    (only,) = examples_of(tmp_path, "text_classification")
    assert only["value"] == long
    assert len(only["name"]) == 60


def test_arrays_that_would_make_the_page_heavy_are_left_out(tmp_path: Path):
    write_json(
        tmp_path / "golden.json",
        [{"request": {"arrays": [[0] * size]}, "answer": [{"label": "a"}]} for size in (2001, 4)],
    )
    assert examples_of(tmp_path, "array_classification") == [{"name": "Example 1", "value": [0] * 4}]


@pytest.mark.parametrize(("kind", "is_offered"), [("text", True), ("hash", False)])
def test_rows_are_not_shown_where_the_log_may_not_keep_them(
    told: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_offered: bool
):
    write_json(told / "golden.json", texts(("a", "a row of the data")))
    monkeypatch.setenv(FOLDER, str(told / "log"))
    monkeypatch.setenv(INPUT, kind)
    assert "a row of the data" in make_page(told).html
    assert page_of(pages(told)).count("a row of the data") == (2 if is_offered else 0)


def page_of(app: Any) -> str:
    from starlette.testclient import TestClient

    return TestClient(app).get("/").text
