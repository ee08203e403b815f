"""The champion gate: a challenger takes the champion's place only where it is not worse on the same held-out rows.

Both are read from their bundles, whose hashes were checked, and asked through serving/predictors, as they are served.
The rows are the challenger's own test split. Which row is in which split hangs on a digest of its text, so the champion
was not trained on them either, but for a few at the edge of a split that has grown; where the recipe's split itself is
another now, the champion may know some of them, which makes the gate stricter, and is said.

Many small steps down must not add up, so the challenger is compared with the best former champion on these rows as
well, where that is not the present one: best.py says which may be. The same limits hold beside both (limits.py). All
are timed in turns.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.comparison.duel import Comparison, Duel, HeldOut
from components.compress.measure import measure_latencies
from components.params import LatencyGate, Recipe
from components.plumbing.artifacts import Layout, md5_of, verify
from components.plumbing.errors import ArtifactError, ParamsError, PromotionError
from components.promotion.limits import Limits, as_best, faults_of, figures_of
from components.tasks import task_of
from components.tracking.registry import Version
from serving.bundle import load_model

logger = logging.getLogger(__name__)

NUM_WARM_UP = 8


@dataclass(frozen=True)
class Contender:
    """A version and its bundle on this machine."""

    version: Version
    bundle: Path

    @property
    def model(self) -> dict[str, Any]:
        """The content of the bundle's model.json."""
        return load_model(self.bundle)

    @property
    def size_bytes(self) -> int:
        """The size of the bundle's ONNX files in bytes."""
        return sum(path.stat().st_size for path in self.bundle.glob("*.onnx"))


@dataclass(frozen=True)
class Verdict:
    """The result of the gate."""

    figures: dict[str, Any]
    """The measured figures, flat numbers and strings, for the ledger and MLflow."""
    faults: list[str]
    """The limits that are broken, in words; none where the challenger may take the champion's place."""
    best: Version
    """The best on these rows of all that were compared, the challenger among them; of equals the challenger."""

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(
    root: Path, recipe: Recipe, champion: Contender, challenger: Contender, *, former: Sequence[Contender] = ()
) -> Verdict:
    """Compare a challenger with the champion, and with the best of the `former` champions where that is better here.

    ArtifactError where the two cannot be compared, ParamsError where the recipe has no margins.
    """
    name, gate = challenger.version.recipe, recipe.promotion
    if gate is None:
        raise ParamsError(
            f"recipes.{name} has no section 'promotion', which says what a challenger must hold to; add it (see "
            "docs/operating.md), or promote without a comparison: modelyard promote --force REASON"
        )
    task = task_of(check_comparable(champion, challenger))
    duel = task.duel(held_out(root, name, challenger), metric=task.promotion_metric(recipe.evaluate))
    limits = Limits(gate, gate.indifference if gate.indifference is not None else duel.indifference)
    load = partial(load_runner, duel, threads=recipe.package.serving.threads)
    known = [champion, *(one for one in former if one.model["task"] == champion.model["task"])]
    asked = duel.answers(load(challenger))
    found = [duel.compare(duel.answers(load(one)), asked, bootstrap=gate.bootstrap) for one in known]
    first = max(range(len(known)), key=lambda place: lead_of(found[place]))  # of equals the present champion
    places = [0] if first == 0 else [0, first]
    costs = costs_of(duel, [load(one) for one in (challenger, *(known[place] for place in places))], gate.latency)
    sizes = [one.size_bytes for one in (challenger, *(known[place] for place in places))]

    figures: dict[str, Any] = {
        "metric": duel.metric, "unit": duel.unit, "indifference": limits.indifference,
        "same_split": is_same_split(champion, challenger),
    }  # fmt: skip
    faults: list[str] = []
    for number, place in enumerate(places, start=1):
        ours = figures_of(
            found[place], p50_ms=(costs[number], costs[0]), sizes=(sizes[number], sizes[0]), limits=limits
        )
        whose = "the champion's" if place == 0 else f"that of version {known[place].version.number}, the best so far:"
        faults += faults_of(found[place], figures | ours, limits, whose=whose)
        figures |= ours if place == 0 else as_best(ours, known[place].version)
    best = challenger.version if lead_of(found[first]) <= 0 else known[first].version
    return Verdict(figures=figures, faults=faults, best=best)


def load_runner(duel: Duel[Any], contender: Contender, *, threads: int) -> Any:
    return duel.load(contender.bundle, threads=threads)


def lead_of(found: Comparison) -> float:
    """Return by how much a champion is better than the challenger; one that gives no number is no better."""
    return found.drop if np.isfinite(found.drop) else -math.inf


def costs_of(duel: Duel[Any], runners: Sequence[Any], gate: LatencyGate) -> list[float]:
    """Return the median milliseconds of each runner for a single item, all taken in turns."""
    named = {str(number): runner for number, runner in enumerate(runners)}
    for runner in runners:
        duel.work(runner, duel.items[:NUM_WARM_UP])
    latencies = measure_latencies(named, duel.items, duel.work, num_items=gate.num_rows)
    return [float(np.median(latencies[name])) for name in named]


def check_comparable(champion: Contender, challenger: Contender) -> str:
    """Return the task that both versions do; ArtifactError where they do two."""
    tasks = [contender.model["task"] for contender in (champion, challenger)]
    if tasks[0] != tasks[1]:
        raise ArtifactError(
            f"version {champion.version.number} is for {tasks[0]}, version {challenger.version.number} for {tasks[1]}: "
            "no metric compares them; promote with --force REASON"
        )
    return tasks[1]


def held_out(root: Path, recipe: str, challenger: Contender) -> HeldOut:
    """Return the challenger's own test split; ArtifactError where artifacts/ holds another's."""
    layout = Layout(root, recipe, "preprocess")
    test = layout.artifact / "test.parquet"
    verify(layout.artifact, test.name)
    verify(layout.artifact, "predictor/")
    verify(layout.of("evaluate"), "results/")
    recorded = outputs_of(challenger).get(test.relative_to(root).as_posix())
    if md5_of(test) != recorded:
        raise ArtifactError(
            f"{test} is not the test split that version {challenger.version.number} was judged on; check out its "
            f"commit ({challenger.version.tag}), then 'dvc checkout', or promote with --force REASON"
        )
    return HeldOut(test=test, predictor=layout.artifact / "predictor", results=layout.of("evaluate") / "results")


def outputs_of(contender: Contender) -> Mapping[str, str]:
    """Return the md5 of each file that preprocess made for a version, by path."""
    outs: dict[str, str] = contender.model["made_from"]["preprocess"]["outs"]
    return outs


def is_same_split(champion: Contender, challenger: Contender) -> bool:
    """Return whether both were split by the same rule, so that neither was trained on the other's test rows."""
    rules = [one.model["made_from"]["preprocess"]["params"].get("split") for one in (champion, challenger)]
    if rules[0] != rules[1]:
        logger.warning(
            "the champion was split by another rule (%s, now %s): it may have been trained on some of these rows, "
            "which makes it look better", *rules,
        )  # fmt: skip
    return rules[0] == rules[1]


def refusal(recipe: str, challenger: Version, champion: Version, verdict: Verdict) -> PromotionError:
    """Return the error to raise for a challenger that did not pass."""
    return PromotionError(
        f"{recipe}: version {challenger.number} does not take the place of version {champion.number}: "
        f"{' and '.join(verdict.faults)}; train further, move the limit on purpose, or 'modelyard promote {recipe} "
        f"--version {challenger.number} --force REASON'",
        report=verdict.figures,
    )
