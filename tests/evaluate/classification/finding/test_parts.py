"""What was found, on the report's page: everything is escaped, and equal findings give equal bytes."""

from pathlib import Path

import numpy as np
from PIL import Image

from components.evaluate.classification.finding.candidates import Candidate
from components.evaluate.classification.finding.label_errors import Suspect, SuspectedLabels
from components.evaluate.classification.finding.parts import found_slices_part, label_errors_part
from components.evaluate.classification.finding.plots import PICTURE, save_found_slices
from components.evaluate.classification.finding.slices import FoundSlices, find_slices
from components.evaluate.classification.judged import Judged
from components.params import FindSlices
from tests.evaluate.test_page import alts_of

SETTINGS = FindSlices(min_rows=10, clusters=2, seed=0, shown=5)


def found_of(num_wrong: int) -> FoundSlices:
    """What is found where the first rows are wrong, which a word of odd letters tells."""
    actual = np.arange(200) % 2
    predicted = np.where(np.arange(200) < num_wrong, 1 - actual, actual)
    scores = np.eye(2, dtype=np.float32)[predicted]
    judged = Judged(("no", "$yes$"), np.arange(200), None, actual, scores, scores, "a baseline")
    odd = [Candidate("word", name, np.arange(200) < size) for name, size in (("<b>&", 30), ("书店", 100))]
    return find_slices(judged, odd, settings=SETTINGS, confidence=0.95)


def test_slices_are_drawn_and_listed(tmp_path: Path) -> None:
    found = found_of(25)
    part = found_slices_part(found)
    assert "&#x27;&lt;b&gt;&amp;&#x27;" in part.body
    assert "<b>&" not in part.body
    assert "书店" in part.body
    assert "surely worse" in part.body
    (alt,) = alts_of(part.body)
    assert alt.startswith("The accuracy of slices with its interval, beside 0.875 of all rows: word '<b>&' 0.167 (")
    assert "of 30 rows, surely worse; word '书店' 0.750" in alt
    assert part == found_slices_part(found)
    save_found_slices(tmp_path, found)
    first = (tmp_path / PICTURE).read_bytes()
    save_found_slices(tmp_path, found)
    assert first == (tmp_path / PICTURE).read_bytes()
    with Image.open(tmp_path / PICTURE) as picture:
        assert min(picture.size) > 200


def test_that_nothing_was_found_is_said_as_well(tmp_path: Path) -> None:
    found = found_of(0)
    body = found_slices_part(found).body
    assert "None of the 4 looked at is surely worse than the rest" in body
    assert "No slice lies below the rest" in body
    assert "<svg" not in body
    save_found_slices(tmp_path, found)
    assert (tmp_path / PICTURE).is_file()


def test_suspected_labels_are_listed() -> None:
    suspects = (
        Suspect(7, "test", "no", "yes", 0.9, -0.8, True, "<script>alert(1)</script>"),
        Suspect(8, "train", "yes", "no", 0.8, -0.6, None, "a text"),
    )
    found = SuspectedLabels(100, {"train": 80, "test": 20}, "a classifier", 5, 0.9, 2, 1, suspects)
    body = label_errors_part(found).body
    assert "2 of 100 labels (80 train, 20 test) are suspected" in body
    assert "&lt;script&gt;" in body
    assert "<script>" not in body
    assert body.count("agrees") == 1
    none = label_errors_part(SuspectedLabels(100, {"train": 100}, "a classifier", 5, 1.0, 0, 0, ()))
    assert "0 of 100 labels" in none.body
    assert "<table" not in none.body
