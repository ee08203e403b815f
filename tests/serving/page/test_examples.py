"""Which of a bundle's golden requests the page offers."""

from pathlib import Path
from typing import Any

import pytest

from components.plumbing.artifacts import write_json
from serving.log.traffic import FOLDER, INPUT
from serving.page import golden_of, make_page
from serving.service import pages
from serving.tasks import endpoint_of


def examples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    return endpoint_of(task).examples(golden_of(folder))


def texts(*labelled: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"request": {"texts": [text]}, "answer": [{"label": label}]} for label, text in labelled]


def test_every_label_comes_with_texts_that_can_be_read_at_a_glance(tmp_path: Path) -> None:
    good, long = "a text of which one knows what it says", "word " * 60
    write_json(
        tmp_path / "golden.json",
        texts(("a", "no"), ("a", long), ("a", f"{good} 1"), ("a", f"{good} 22"), ("a", f"{good} 333"), ("b", "b")),
    )
    assert [one["value"] for one in endpoint_of("text_classification").examples(golden_of(tmp_path))] == [
        f"{good} 1", "b", f"{good} 22", f"{good} 333",
    ]  # fmt: skip
    write_json(tmp_path / "golden.json", texts(("a", long)))
    (only,) = endpoint_of("text_classification").examples(golden_of(tmp_path))
    assert only["value"] == long
    assert len(only["name"]) == 60


def test_arrays_that_would_make_the_page_heavy_are_left_out(tmp_path: Path) -> None:
    write_json(
        tmp_path / "golden.json",
        [{"request": {"arrays": [[0] * size]}, "answer": [{"label": "a"}]} for size in (2001, 4)],
    )
    assert endpoint_of("array_classification").examples(golden_of(tmp_path)) == [
        {"name": "Example 1", "value": [0] * 4}
    ]


@pytest.mark.parametrize(("kind", "is_offered"), [("text", True), ("hash", False)])
def test_rows_are_not_shown_where_the_log_may_not_keep_them(
    told: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_offered: bool
) -> None:
    write_json(told / "golden.json", texts(("a", "a row of the data")))
    monkeypatch.setenv(FOLDER, str(told / "log"))
    monkeypatch.setenv(INPUT, kind)
    assert "a row of the data" in make_page(told).html
    assert page_of(pages(told)).count("a row of the data") == (2 if is_offered else 0)


def page_of(app: Any) -> str:
    from starlette.testclient import TestClient

    return TestClient(app).get("/").text
