"""What the benchmarks found: a section a part, and a reason where there is nothing."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results

FOLDER = Path(__file__).parents[2] / "benchmarks"

RECORDS = """
import re
import sys
from results import Row, Section
section = Section("{name}")
section.record([Row("loop beside its peer", {values}, ours="3 rows/s", peer="1 row/s", at_least=2, tried="threads")])
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MODELYARD_RESULTS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks import __main__

    return __main__


def run(runner: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]) -> tuple[int, str]:
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    one = runner.Benchmark
    monkeypatch.setattr(runner, "BENCHMARKS", [one(str(folder / name), (name,), 1) for name in scripts])
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    code, page = runner.main(), (folder / "results.md").read_text()
    assert results.page(results.kept()) == page
    return code, page


def test_each_benchmark_renews_its_section_and_one_that_cannot_run_keeps_what_was_found(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"one": RECORDS.format(name="one", values=[3, 1, 1.5]), "two": RECORDS.format(name="two", values=[4])}
    code, page = run(runner, tmp_path, monkeypatch, scripts)
    times = "\N{MULTIPLICATION SIGN}"
    assert code == 0
    assert "## What was asked: 1 of 2 met" in page
    row = f"| loop beside its peer | 3 rows/s | 1 row/s | 1.5 {times} | 1 to 3 {times} | ≥ 2 {times} | **no** |"
    assert row in page
    assert page.count(f"- loop beside its peer, 1.5 {times}: threads") == 1
    assert str(tmp_path) not in page
    scripts |= {
        "one": "raise SystemExit(f'it broke in {__file__}, see https://a.b/c/d')",
        "two": "import results; results.stop('there is no GPU')",
    }
    code, page = run(runner, tmp_path, monkeypatch, scripts | {"three": "print(1 / 0)"})
    assert code == 1
    assert row in page  # of before
    for reason in (
        "failed on .*: it broke in one.py, see https://a.b/c/d",
        "could not be run on .*: there is no GPU",
        "failed on .*ZeroDivisionError",
    ):
        assert len(re.findall(rf"\*\*This {reason}", page)) == 1, reason
    assert page.count("What follows is of before.") == 2
    code, page = run(runner, tmp_path, monkeypatch, {"one": RECORDS.format(name="one", values=[5])})
    assert (code, row in page, "it broke" in page, "there is no GPU" in page) == (0, False, False, True)


def test_further_tables_stand_below_their_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_RESULTS", str(tmp_path))
    row = results.Row("loop", [1.0])
    results.Section("one").record([row], notes=["a note"], tables={"digits": [("", "rows/s"), ("ours", "3")]})
    page = (tmp_path / "results.md").read_text()
    assert "digits:\n\n|  | rows/s |\n| --- | --- |\n| ours | 3 |\n\n- a note\n" in page
    assert page == results.page(results.kept())


def test_page_of_the_results_is_what_was_kept() -> None:
    """Nobody edits the page by hand."""
    assert results.page(results.kept()) == (FOLDER / "results.md").read_text(encoding="utf-8")


def test_rounds_that_are_seeds_are_judged_by_their_mean_and_its_interval() -> None:
    row = results.Row("loss", [-0.05, 0.0, 0.077], unit="", at_least=-0.02, at_most=0.02, by="mean")
    assert row.value == pytest.approx(0.009)
    assert row.is_met
    assert row.cells()[6] == "yes, not surely"
    assert row.interval == pytest.approx(4.303 * 0.06398 / 3**0.5, rel=1e-3)  # Student's t, two degrees of freedom
    assert row.cells()[3:5] == ("0.009", "-0.05 to 0.077, mean ± 0.159")
    assert results.Row("loss", [0.01], by="mean").interval == float("inf")
