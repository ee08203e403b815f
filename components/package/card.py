"""The model card of a bundle (Mitchell et al. 2019, arXiv:1810.03993): what it does, how well, and how to ask it."""

from collections.abc import Mapping
from typing import Any

CARD = """\
# {recipe}

A text classifier: it gives one of {num_labels} labels ({labels}) to a text, with a score for each.

## How well

Measured on {num_test} texts that it was not trained on; the interval is a {confidence:.0%} bootstrap interval.

| | accuracy | F1 (macro) | ROC-AUC | calibration error |
|---|---|---|---|---|
| float model | {interval} | {f1_macro:.3f} | {roc_auc:.3f} | {ece:.3f} |
| this bundle ({method}) | {compressed_accuracy:.3f} | | | |
| TF-IDF and logistic regression | {baseline_accuracy:.3f} | {baseline_f1_macro:.3f} | | |

The bundle's model takes {size_mb:.1f} MB, {size_ratio:.2f} of the float model's, and gives the float model's label to
{agreement:.1%} of those texts.

## What it was made from

{num_rows} rows of data under the licence {licence}, which met their contract. `manifest.json` names every data set,
parameter and file by its digest; `GET /lineage` shows it.

## What to expect

It knows texts like the ones it was trained on: on others it answers as surely, and is wrong more often. A text is cut
after {max_tokens} tokens.

## How to ask

    curl -s localhost:3000/classify -H 'content-type: application/json' -d '{{"texts": ["a text"]}}'

At most {max_texts} texts of {max_text_length} characters in one request. 400 says what is wrong with a request, 503
that the service is overloaded, with `Retry-After` in seconds.
"""


def card_text(
    recipe: str, *, labels: list[str], data: Mapping[str, Any], evaluated: Mapping[str, Any],
    compressed: Mapping[str, Any], limits: Mapping[str, Any], max_tokens: int,
) -> str:  # fmt: skip
    """The card, in Markdown."""
    names = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return CARD.format(
        recipe=recipe,
        num_labels=len(labels),
        labels=names,
        num_rows=data["num_rows"],
        licence=data["licence"],
        **{name: evaluated[name] for name in (
            "num_test", "confidence", "f1_macro", "roc_auc", "ece",
            "baseline_accuracy", "baseline_f1_macro",
        )},
        interval="{accuracy:.3f} ({accuracy_low:.3f} to {accuracy_high:.3f})".format(**evaluated),
        method=compressed["method"],
        compressed_accuracy=compressed["accuracy"],
        size_mb=compressed["size_bytes"] / 1e6,
        size_ratio=compressed["size_ratio"],
        agreement=compressed["agreement"],
        max_tokens=max_tokens,
        max_texts=limits["max_texts"],
        max_text_length=limits["max_text_length"],
    )  # fmt: skip
