"""Which details of the texts are masked: all kinds but those that some texts are made of."""

from collections import Counter
from collections.abc import Sequence

from components.preprocess.cleaning import hidden_kinds
from serving.predictors.text import clean

UNICODE = "NFKC"
KINDS = ("email", "phone", "card", "iban", "ip", "url")
MAX_HIDDEN_SHARE = 0.02
"""The share of texts with nothing left but placeholders above which their kinds are not masked."""


def choose_masks(sample: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds to mask, and a remark for the user on each that is left out."""
    hidden: Counter[str] = Counter()
    num_hidden = 0
    for text in sample:
        kinds = hidden_kinds(clean(text, unicode=UNICODE, mask=KINDS))
        hidden.update(kinds)
        num_hidden += bool(kinds)
    left_out = {kind for kind, count in hidden.items() if count > MAX_HIDDEN_SHARE * len(sample)}
    kept = tuple(kind for kind in KINDS if kind not in left_out)
    if not left_out:
        return kept, ()
    named = ", ".join(f"[{kind.upper()}]" for kind in KINDS if kind in left_out)
    return kept, (
        f"{num_hidden / len(sample):.0%} of the texts would be nothing but {named} when masked, and so all alike: "
        f"preprocess.mask leaves {'it' if len(left_out) == 1 else 'them'} out, and they are read as they stand",
    )
