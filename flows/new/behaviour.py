"""The checks of behaviour that a recipe is proposed with: those of changes that should matter for no task, where enough
rows have something to change."""

from collections.abc import Mapping, Sequence
from random import Random

from components.evaluate.behaviour.perturb import PLAIN

NUM_TRIED = 2000
LEAST_ROWS = 20
"""On fewer rows of the test split a check tells little, and on none it stops the run."""
ROWS = 200


def changed_shares(sample: Sequence[str]) -> dict[str, float]:
    """Return the share of clean texts that each change alters, by the kind of its check."""
    tried = sample[:NUM_TRIED]
    return {
        kind: sum(change(text, Random(0)) is not None for text in tried) / max(1, len(tried))
        for kind, change in PLAIN.items()
    }


def behaviour_text(shares: Mapping[str, float], *, num_test: int) -> str:
    """Return the section of the checks, as lines of the section evaluate; nothing where no check has enough rows."""
    kinds = [kind for kind, share in shares.items() if share * num_test >= LEAST_ROWS]
    if not kinds:
        return ""
    checks = "".join(f"          - {{kind: {kind}}}\n" for kind in kinds)
    return f"""\
      # Changes that should not change an answer. 'results/behaviour.json' counts where one does, and has examples; with
      # 'max_failures: 0.05', say, a check stops the run. docs/recipes.md has those that know what a text means.
      behaviour:
        seed: 0
        rows: {ROWS}
        checks:
{checks}"""
