"""The model card of a bundle (Mitchell et al. 2019, arXiv:1810.03993): what it does, how well, and how to ask it."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.package.gates import Gate
from serving.endpoint import Endpoint

CARD = """\
# {recipe}

{what_it_is}

## How well

It was not trained on the test split{given_note}. On
{judged},
its {metric} is {quality:.4g}; the float model's is {float_quality:.4g}, and {agreement:.1%} of the {unit} get the same
answer of both. It takes {size_mb:.1f} MB, {size_ratio:.2f} of the float model's ({candidate}).

The float model's figures on the whole of the test split{interval_note}:

| | | interval |
|---|---|---|
{figures}

{abstaining}## Gates it passed

| stage | what | measured | limit |
|---|---|---|---|
{gates}
{page_note}
## What it was made from

{num_rows} rows of data under the licence {licence}, which met their contract. `model.json` names the data sets and
parameters, `manifest.json` every file, by their digests; `GET /lineage` shows both.

## What to expect

It knows rows like the ones it was trained on: on others it answers as surely, and is wrong more often.

## How to ask

The page at `/` asks it, or:

    curl -s localhost:3000{route} {example}

{how_to_ask}

400 says what is wrong with a request, 503 that the service is overloaded, with `Retry-After` in seconds.
"""
PAGE_NOTE = """
[report.html](report.html) beside this card, served at `/report`, shows what the float model was compared with, its
curves, how far its scores can be trusted, and its worst mistakes.
"""

ABSTAINING = """\
## When it does not know

Each answer says `"abstain": true` where the score of its label is below {threshold:.4g}: take it for "I do not know",
whatever its label. The threshold was chosen on the validation split, so that surely {precision:.4g} of the answers that
do not abstain are right there. On {judged},
{coverage:.1%} of the answers do not abstain{right}. `coverage` and `answered precision` above are the float model's.

"""


def card_text(
    recipe: str, bundle: Path, *, endpoint: Endpoint, limits: Any, reports: Mapping[str, Any], gates: Sequence[Gate],
    params: Mapping[str, Any], has_page: bool,
) -> str:  # fmt: skip
    """Return the card of a bundle, in Markdown; the folder `bundle` holds the model already, and `params` the stages'
    sections by name."""
    column = params.get("preprocess", {}).get("split", {}).get("column")
    data, evaluated, compressed = reports["card"], reports["evaluated"], reports["compressed"]
    confidence = evaluated.get("confidence")
    return CARD.format(
        recipe=recipe,
        what_it_is=endpoint.what_it_is(bundle),
        given_note=f", which the column `{column}` of the rows gives" if column else "",
        judged=compressed["judged"],
        metric=words_of(compressed["metric"]),
        quality=compressed["quality"],
        float_quality=compressed["float_quality"],
        size_mb=compressed["size_bytes"] / 1e6,
        size_ratio=compressed["size_ratio"],
        candidate=compressed["candidate"],
        agreement=compressed["agreement"],
        unit=compressed["unit"],
        interval_note=f", with a {confidence:.0%} bootstrap interval where there is one" if confidence else "",
        figures="\n".join(rows_of(evaluated)),
        abstaining=abstaining(evaluated, compressed),
        gates="\n".join(map(row_of_gate, gates)),
        page_note=PAGE_NOTE if has_page else "",
        num_rows=data["num_rows"],
        licence=data["licence"],
        route=endpoint.ROUTE,
        example=endpoint.example(bundle),
        how_to_ask=endpoint.how_to_ask(bundle, limits),
    )


def abstaining(evaluated: Mapping[str, Any], compressed: Mapping[str, Any]) -> str:
    """Return the card's part on answers that do not count; empty where all do."""
    if compressed.get("coverage") is None:
        return ""
    right = compressed.get("answered_precision")
    return ABSTAINING.format(
        threshold=compressed["threshold"],
        precision=evaluated["wanted_precision"],
        judged=compressed["judged"],
        coverage=compressed["coverage"],
        right="" if right is None else f", and {right:.1%} of those are right",
    )


def rows_of(report: Mapping[str, Any]) -> Generator[str]:
    """Yield a row of the card's table for each number of a report, with its interval where it has one."""
    for name, value in report.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or name == "confidence" or name.endswith(("_low", "_high")):
            continue
        low, high = report.get(f"{name}_low"), report.get(f"{name}_high")
        interval = f"{low:.4g} to {high:.4g}" if low is not None and high is not None else ""
        yield f"| {words_of(name)} | {value:.4g} | {interval} |"


def row_of_gate(gate: Gate) -> str:
    """Return a row of the card's table. A gate without a figure was passed, or there would be no bundle."""
    measured = "passed" if gate["value"] is None else f"{gate['value']:.4g}"
    figure = words_of(gate["figure"]).replace("|", r"\|")
    return f"| {gate['stage']} | {figure} | {measured} | {gate['bound']} {gate['limit']:g} |"


def words_of(name: str) -> str:
    return name.replace("_", " ")
