from typing import Any

from components.evaluate.explanations.faithfulness import RANDOM
from components.evaluate.explanations.page import part
from components.evaluate.explanations.tables import Found
from tests.evaluate.test_page import alts_of

FIGURES: Any = {
    f"{kind}{end}": 0.5 for kind in ("comprehensiveness", "sufficiency", "tau") for end in ("", "_low", "_high")
}
FOUND: Found = {
    "num_rows": 2, "confidence": 0.95, "parts": "patches", "score": "probability of the answer", "shares": [0.1, 0.5],
    "verdict": [], "orders": {"occlusion": FIGURES, RANDOM: FIGURES},
    "curves": {
        "occlusion": {"comprehensiveness": [0.25, 0.75], "sufficiency": [0.5, 1.0]},
        RANDOM: {"comprehensiveness": [0.05, None], "sufficiency": [0.1, 0.6]},
    },
    "agreement": {}, "num_agreeing": 0, "texts": [], "words": {},
    "images": [
        {
            "row": 7, "label": "3", "answer": "<8>", "score": 0.9, "values": [[0.0, 1.0], [1.0, 0.0]],
            "effects": [[0.1, -0.2], [0.4, 0.4]],
        },
        {
            "row": 8, "label": "3", "answer": "3", "score": 0.6, "values": [[0.0, 1.0], [1.0, 0.0]],
            "effects": [[0.0, -0.2], [0.0, -0.1]],
        },
    ],
    "patch": [1, 1],
}  # fmt: skip


def test_drawings_are_told_in_words() -> None:
    curves, images = alts_of(part(FOUND).body)
    assert curves == (
        "Two plots over 10, 50 % of a row's patches, as shares of the score's room. What the score loses without the "
        "strongest patches: occlusion 0.25 0.75, a random order 0.05 not defined; what the strongest patches alone "
        "give back: occlusion 0.50 1.00, a random order 0.10 0.60."
    )
    assert "<8> (3) 0.90, most of all for the patch 2 from the top and 1 from the left (+0.40); " in images
    assert images.endswith("3 0.60, for which no patch speaks.")
    assert "<8>" not in part(FOUND).body
