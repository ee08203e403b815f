import io
from pathlib import Path

from rich.console import Console

from components.plumbing.artifacts import ERROR, REPORT, Layout, write_json
from flows.pipeline.tables import lost_to_baseline, recipes_summary, recipes_table, run_tables
from tests.projects import tiny_recipe, write_params


def test_recipe_whose_last_run_failed_a_gate_is_said_to_have(tmp_path: Path) -> None:
    write_params(tmp_path, {"tiny": tiny_recipe()})
    report = Layout(tmp_path, "tiny", "ingest").artifact / REPORT
    left = Layout(tmp_path, "tiny", "evaluate").observations / ERROR
    for path, value in ((report, {}), (left, {"message": "too low", "exit_code": 3})):
        path.parent.mkdir(parents=True)
        write_json(path, value)
    assert shown(tmp_path)[1:3] == ["1 of 8", "evaluate: gate failed"]
    write_json(left, {"message": "broken", "exit_code": 1})
    assert shown(tmp_path)[2] == "evaluate: failed"
    left.unlink()
    assert shown(tmp_path)[1:] == ["1 of 8"]


def shown(root: Path) -> list[str]:
    """Return what the table of the recipes says of the one, in its third column, after the name of the column."""
    console = Console(file=io.StringIO(), width=200)
    recipes_table(recipes_summary(root), console)
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    lines = text.splitlines()
    begin = lines[0].index("stages")
    end = lines[0].index("on the test split")
    return [line[begin:end].strip() for line in lines if line[begin:end].strip()]


def test_a_model_that_is_surely_worse_than_its_baseline_is_said_to_be() -> None:
    worse = {"gain": -0.104, "gain_low": -0.157, "gain_high": -0.051, "baseline": "linear SVM on TF-IDF of characters"}
    assert lost_to_baseline(worse).startswith(
        "\nThe linear SVM on TF-IDF of characters is surely better than this model"
    )
    assert lost_to_baseline(worse | {"gain_high": 0.008}) == ""
    assert lost_to_baseline({"bits_per_byte": 1.4}) == ""  # of a language model, whose gate names its own


def test_the_end_of_a_run_says_where_the_page_on_the_model_is() -> None:
    console = Console(file=io.StringIO(), width=60)
    data = {
        "recipe": "tiny", "seconds": 1.0, "stages": [{"stage": "evaluate", "state": "ran", "seconds": 1.0,
        "is_restored": False}], "reports": {"evaluate": {"accuracy": 0.9}}, "speeds": None, "to_commit": [],
        "bentoml_home": "", "task": "text_classification", "order": None,
    }  # fmt: skip
    run_tables(data, console)
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "report  artifacts/tiny/evaluate/results/report.html\n" in text
