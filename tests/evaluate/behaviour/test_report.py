from dataclasses import fields, replace
from pathlib import Path

from PIL import Image

from components.evaluate import Outputs
from components.evaluate.behaviour.checks import Behaved, Example, Finding
from components.evaluate.behaviour.report import faults_of, part, write_behaviour
from components.plumbing.artifacts import files_of, read_json
from components.plumbing.pages import document
from tests.evaluate.test_page import alts_of

EXAMPLE = Example(7, "A <b>good</b> film", "positive", 0.9, "A <b>godo</b> film", "negative", 0.2)
TYPOS = Finding(
    name="typos", kind="typos", test="invariance", label=None, num_texts=200, num_failures=30, share=0.15,
    share_low=0.103, share_high=0.207, max_failures=0.1, mean_score=0.93, mean_change=-0.1, num_unseen=3,
    examples=(EXAMPLE,),
)  # fmt: skip
PLAIN = replace(
    TYPOS, name="praise $x$\u4e66", kind="minimum", test="minimum", label="positive", num_failures=0, share=0.0,
    share_low=0.0, share_high=0.018, mean_change=None, num_unseen=None, examples=(),
)  # fmt: skip
NEGATION = replace(
    TYPOS, name="negation", kind="negation", test="direction", max_failures=None, examples=(replace(EXAMPLE, row=None),)
)
FOUND = Behaved(0.95, (TYPOS, PLAIN, NEGATION))


def make_outputs(folder: Path) -> Outputs:
    outputs = Outputs(**{field.name: folder / field.name for field in fields(Outputs)})
    for place in (outputs.results, outputs.plots):
        place.mkdir(parents=True)
    return outputs


def test_table_and_plot_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_behaviour(make_outputs(tmp_path / name), FOUND)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    told = read_json(tmp_path / "one" / "results" / "behaviour.json")
    assert told["confidence"] == 0.95
    assert [check["name"] for check in told["checks"]] == ["typos", PLAIN.name, "negation"]
    assert told["checks"][0]["examples"][0]["after"] == "A <b>godo</b> film"
    with Image.open(tmp_path / "one" / "plots" / "behaviour.png") as picture:
        assert min(picture.size) > 200


def test_limits_that_are_broken_are_named_with_their_figures() -> None:
    typos, more = faults_of(Behaved(0.95, (TYPOS, PLAIN, replace(TYPOS, name="more typos"), NEGATION)))
    assert typos == (
        "the check 'typos' of evaluate.behaviour fails on 30 of 200 texts (15.0%, interval 10.3% to 20.7%), above its "
        "max_failures 0.1; results/behaviour.json has examples"
    )
    assert "'more typos'" in more
    assert faults_of(Behaved(0.95, (PLAIN, NEGATION))) == []


def test_the_page_has_every_check_and_examples_as_plain_text() -> None:
    told = part(FOUND)
    assert told.title == "Behaviour"
    assert told == part(FOUND)
    for words in ("typos", "the label changes", "15.0%", "10.3% to 20.7%", "-0.100", "the label is another", "<svg"):
        assert words in told.body
    (alt,) = alts_of(told.body)
    assert alt.startswith("The share of texts on which each check fails, with its 95% interval: typos 30 of 200 texts")
    assert "(15.0%, interval 10.3% to 20.7%), above its limit 10.0%; praise $x$\u4e66 0 of 200" in alt
    assert "within its limit 10.0%; negation" in alt
    assert told.body.count("<details>") == 2
    assert '<span class="alarm">broken</span>' in told.body
    assert '<span class="good">held</span>' in told.body
    assert "A &lt;b&gt;godo&lt;/b&gt; film" in told.body
    assert "<b>" not in told.body
    assert "http://" not in document("x", "x", told.body).replace("http://www.w3.org", "")
