"""The quality bars of a proposed recipe: what the baseline of `evaluate` reaches on a sample of the rows.

The baseline is chosen and judged by cross-validation, as `evaluate` chooses it. Test splits of the size that the recipe
will have are drawn from its answers, so a bar asks for no more than such a split can tell: the lower end of the
interval, less what a first model may lack.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from components.params import Baseline
from flows.new.figures import Figures
from flows.new.settings import RecipeSettings

SETTINGS = Baseline(folds=3, choice_rows=2000, max_rows=2000, seed=0)
LEAST_ROWS = 30
NUM_DRAWS = 500
ENDS = (0.025, 0.975)
# By how much a first model may stay behind the baseline: a known encoder, an encoder of the user's own, and one that is
# trained on these rows alone.
KNOWN, OWN, TRAINED = 0.02, 0.05, 0.25
HASTY = 0.3
"""As above, for a model that the minutes let see less than one epoch."""
FEW_TEST_ROWS = 20


@dataclass(frozen=True)
class Bars:
    """The score that the baseline reached, and the two limits of the quality gate that follow."""

    name: str
    score: float
    """The baseline's score in cross-validation."""
    low: float
    """The lower end of the interval of that score on a test split."""
    width: float
    """The width of the interval of the difference of two such models on a test split."""
    allowance: float
    num_rows: int
    """The number of rows that it was measured on."""


def measure_bars(
    rows: Sequence[tuple[str, str]], labels: Sequence[str], settings: RecipeSettings, *, allowance: float
) -> Bars | None:
    """Measure the baseline on labelled rows; None where they are too few to tell anything."""
    from components.evaluate.classification.linear import choose  # scikit-learn, for seconds

    number = {label: place for place, label in enumerate(labels)}
    known = [(text, number[label]) for text, label in rows if label in number]
    actual = np.array([label for _, label in known], np.int64)
    if len(known) < LEAST_ROWS or len(set(actual.tolist())) < 2:
        return None
    choice = choose(
        [text for text, _ in known], actual, num_classes=len(labels), metric=settings.metric, settings=SETTINGS
    )
    best = choice.candidate
    others = [one for one in choice.guesses if one.analyzer != best.analyzer] or list(choice.guesses)
    rival = max(others, key=lambda one: choice.scores[one])  # the best that sees something else in the texts
    draws = draw(len(choice.rows), settings.num_test)
    ours, theirs = (
        score(actual[choice.rows], choice.guesses[one], settings.metric, len(labels), draws) for one in (best, rival)
    )
    low, _ = np.quantile(ours, ENDS)
    ends = np.quantile(theirs - ours, ENDS)
    width = max(float(ends[1] - ends[0]), 3 / settings.num_test)  # of no mistake in n rows, up to 3 in n are possible
    low = min(float(low), choice.score - 3 / settings.num_test)
    return Bars(best.name, choice.score, low, width, allowance, len(choice.rows))


def draw(num_rows: int, num_test: int) -> NDArray[np.float32]:
    """Return how often each row is in each of many test splits, (N, S)."""
    shares = np.full(num_rows, 1 / num_rows)
    return np.random.default_rng(0).multinomial(num_test, shares, size=NUM_DRAWS).T.astype(np.float32)


def score(
    actual: NDArray[np.int64], guesses: NDArray[np.int64], metric: str, num_classes: int, draws: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the metric of answers on each drawn split, (S,)."""
    from components.evaluate.classification.metrics import counting_metrics

    return counting_metrics(actual, guesses, num_classes=num_classes)(draws)[metric]


def allowing(bars: Bars | None, settings: RecipeSettings) -> Bars | None:
    """Return the bars for as much training as the settings have: less than an epoch makes a model that lacks more."""
    if bars is None or settings.steps_per_epoch is None:
        return bars
    return replace(bars, allowance=max(bars.allowance, HASTY))


def with_bars(settings: RecipeSettings, bars: Bars | None) -> RecipeSettings:
    """Return the settings with the limits of the gate that the baseline's figures give."""
    if bars is None:
        return settings
    bar = max(bars.low - bars.allowance, min(settings.bar, bars.low))
    return replace(
        settings,
        bar=math.floor(100 * max(bar, 0) + 1e-6) / 100,
        min_gain=-math.ceil(100 * (bars.width + bars.allowance) - 1e-6) / 100,
    )


def reasons(settings: RecipeSettings, bars: Bars | None) -> list[str]:
    """Return what the two limits come from, in words, a line each."""
    if bars is None:
        return [
            f"min: just above {settings.baseline_score:.3f}, which naming the largest class each time reaches.",
            f"min_gain: with about {settings.num_test:,} test rows the interval of the gain is some "
            f"{-settings.min_gain:.2f} wide.",
        ]
    return [
        f"min: the baseline, {bars.name}, reaches {bars.score:.3f} in cross-validation on {bars.num_rows:,} of",
        f"these rows, and {bars.low:.3f} at least on {settings.num_test:,} test rows (19 times of 20); a first model",
        f"may have {bars.allowance:g} less. Naming the largest class each time reaches {settings.baseline_score:.3f}.",
        f"min_gain: two models as good as that differ by an interval {bars.width:.2f} wide on so few rows, and "
        f"{bars.allowance:g} as above.",
        "0.0 asks for a model that is surely better than the baseline.",
    ]


def remarks(figures: Figures, settings: RecipeSettings) -> list[str]:
    """Return remarks on classes out of balance: which metric tells something, and how few rows tell it."""
    if settings.is_balanced:
        return []
    largest = max(figures.labels, key=lambda name: figures.labels[name])
    rarest = min(figures.labels, key=lambda name: figures.labels[name])
    share = figures.labels[largest] / figures.num_texts
    found = [
        f"naming '{largest}' each time has accuracy {share:.3f}, so accuracy tells little here: the gates judge macro "
        f"F1, in which each class counts alike (naming '{largest}' each time has {settings.baseline_score:.3f})"
    ]
    expected = settings.num_test * figures.labels[rarest] / figures.num_texts
    if expected < FEW_TEST_ROWS:
        found.append(
            f"only about {max(1, round(expected))} of the {settings.num_test:,} test rows are '{rarest}', so its "
            "figures are rough and the bar is low; more rows of it say more than any setting"
        )
    return found
