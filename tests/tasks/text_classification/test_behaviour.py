"""The stage evaluate with checks of behaviour, on the model of the other tests of the stage."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from components.evaluate import Inputs
from components.params import Behaviour, TextClassificationFigures
from components.plumbing.artifacts import files_of
from components.plumbing.errors import InputError, QualityError
from components.tracking.tracker import NullTracker
from tests.tasks.text_classification.test_evaluate import ALWAYS, PLOTS, good, make_outputs, run, settings_of

__all__ = ["good"]

PRAISE = {"kind": "minimum", "name": "praise", "label": "positive", "texts": ["a superb song", "a lovely garden"]}


def with_checks(*checks: dict[str, Any], gate: Any = ALWAYS) -> TextClassificationFigures:
    raw = {"seed": 0, "rows": 30, "checks": checks}
    return settings_of(gate).model_copy(update={"behaviour": TypeAdapter(Behaviour).validate_json(json.dumps(raw))})


def test_checks_are_asked_of_the_model_on_the_test_split(good: Inputs, tmp_path: Path) -> None:
    params = with_checks({"kind": "typos"}, {"kind": "case"}, {"kind": "punctuation", "max_failures": 1.0}, PRAISE)
    outputs, again, without = (make_outputs(tmp_path / name) for name in ("one", "two", "three"))
    report = run(params, good, outputs, tracker=NullTracker())
    assert run(params, good, again, tracker=NullTracker()) == report
    assert files_of(outputs.results.parent) == files_of(again.results.parent)
    assert run(settings_of(ALWAYS), good, without, tracker=NullTracker()) == report
    told = json.loads((outputs.results / "behaviour.json").read_text())
    typos, case, _, praise = told["checks"]
    assert [check["num_texts"] for check in told["checks"]] == [30, 30, 30, 2]
    assert (case["num_failures"], case["num_unseen"]) == (0, 30), "the tokenizer makes all letters small"
    assert typos["mean_change"] < 0
    assert praise["num_failures"] == 0
    assert all(1000 <= example["row"] < 1100 for example in typos["examples"])
    assert (outputs.plots / "behaviour.png").is_file()
    assert not (without.results / "behaviour.json").exists()
    assert sorted(path.name for path in without.plots.iterdir()) == PLOTS


def test_a_broken_limit_is_a_failed_gate_that_leaves_every_table(good: Inputs, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path)
    blame = {"kind": "minimum", "name": "blame", "label": "negative", "max_failures": 0.5, "texts": PRAISE["texts"]}
    message = r"^the check 'blame' of evaluate.behaviour fails on 2 of 2 texts \(100.0%, .* max_failures 0.5; results"
    with pytest.raises(QualityError, match=message) as failed:
        run(with_checks(PRAISE, blame), good, outputs, tracker=NullTracker())
    assert failed.value.exit_code == 3
    kept = outputs.observations
    assert str(kept) in str(failed.value)
    assert "did not pass its gate" in (kept / "results" / "report.html").read_text(encoding="utf-8")
    assert (kept / "results" / "behaviour.json").is_file()
    assert (kept / "results" / "mistakes.json").is_file()
    assert (kept / "plots" / "behaviour.png").is_file()


def test_the_gate_of_quality_comes_first_and_leaves_the_checks(good: Inputs, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path)
    with pytest.raises(QualityError, match=r"is below evaluate.gate.min 1.5"):
        run(with_checks(PRAISE, gate=ALWAYS.model_copy(update={"min": 1.5})), good, outputs, tracker=NullTracker())
    assert (outputs.observations / "results" / "behaviour.json").is_file()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"kind": "names"}, r"the check 'names' has no rows: none of 100 test rows has any of its names"),
        (PRAISE | {"label": "postive"}, r"is about the label 'postive' .*; it has 'negative', 'positive'"),
    ],
)
def test_a_check_that_cannot_be_asked_is_bad_input(
    good: Inputs, check: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as told:
        run(with_checks(check), good, make_outputs(tmp_path), tracker=NullTracker())
    assert told.value.exit_code == 2


def test_a_text_longer_than_what_the_model_reads_is_checked_in_what_is_read(good: Inputs, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path)
    long = {"kind": "numbers", "texts": ["a superb song " * 1000 + "of 100 days", "99 superb songs"]}
    run(with_checks(long), good, outputs, tracker=NullTracker())
    (check,) = json.loads((outputs.results / "behaviour.json").read_text())["checks"]
    assert (check["num_texts"], check["num_unseen"] >= 1) == (2, True)
