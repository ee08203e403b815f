"""The champion gate: a challenger takes the champion's place only where it is not worse on the same held-out rows.

Both are read from their bundles, whose hashes were checked, and asked through serving/predictors, as they are served.
The rows are the challenger's own test split. Which row is in which split hangs on a digest of its text, so the champion
was not trained on them either, but for a few at the edge of a split that has grown; where the recipe's split itself is
another now, the champion may know some of them, which makes the gate stricter, and is said.

Not worse (a non-inferiority test; Wellek 2010): the upper end of the paired bootstrap interval of the drop must not lie
above the recipe's margin. The same rows are timed in turns.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.comparison.duel import Comparison, Duel, HeldOut
from components.compress.measure import measure_latencies
from components.params import Promotion, Recipe, SliceGate
from components.plumbing.artifacts import Layout, md5_of, verify
from components.plumbing.errors import ArtifactError, ParamsError, PromotionError
from components.tasks import task_of
from components.tracking.registry import Version
from serving.bundle import load_model

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
NUM_WARM_UP = 8
DIGITS = 6


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

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(root: Path, recipe: Recipe, champion: Contender, challenger: Contender) -> Verdict:
    """Compare two versions; ArtifactError where they cannot be compared, ParamsError where
    the recipe has no margins."""
    name, gate = challenger.version.recipe, recipe.promotion
    if gate is None:
        raise ParamsError(
            f"recipes.{name} has no section 'promotion', which says what a challenger must hold to; add it (see "
            "docs/operating.md), or promote without a comparison: modelyard promote --force REASON"
        )
    task = task_of(check_comparable(champion, challenger))
    data = held_out(root, name, challenger)
    duel = task.duel(data, metric=task.promotion_metric(recipe.evaluate))
    threads = recipe.package.serving.threads
    runners = {
        CHAMPION: duel.load(champion.bundle, threads=threads),
        CHALLENGER: duel.load(challenger.bundle, threads=threads),
    }
    comparison = duel.compare(runners[CHAMPION], runners[CHALLENGER], bootstrap=gate.bootstrap)
    for runner in runners.values():
        duel.work(runner, duel.items[:NUM_WARM_UP])
    latencies = measure_latencies(runners, duel.items, duel.work, num_items=gate.latency.num_rows)
    p50_ms = {name: float(np.median(found)) for name, found in latencies.items()}
    sizes = {CHAMPION: champion.size_bytes, CHALLENGER: challenger.size_bytes}
    figures = figures_of(duel, comparison, p50_ms, sizes, gate, same_split=is_same_split(champion, challenger))
    return Verdict(figures=figures, faults=faults_of(figures, comparison, gate))


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


def figures_of(
    duel: Duel[Any], found: Comparison, p50_ms: Mapping[str, float], sizes: Mapping[str, int], gate: Promotion, *,
    same_split: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return everything that was measured, by name."""
    slices = {name: one for name, one in found.slices.items() if counts(name, one.num_rows, gate.slices)}
    worst = max(slices, key=lambda name: slices[name].drop, default=None)
    figures: dict[str, Any] = {
        "metric": duel.metric,
        "judged": found.judged,
        "champion": found.champion,
        "challenger": found.challenger,
        "drop": found.drop,
        "drop_low": found.drop_low,
        "drop_high": found.drop_high,
        "champion_p50_ms": p50_ms[CHAMPION],
        "challenger_p50_ms": p50_ms[CHALLENGER],
        "latency_ratio": p50_ms[CHALLENGER] / p50_ms[CHAMPION],
        "champion_size_bytes": sizes[CHAMPION],
        "challenger_size_bytes": sizes[CHALLENGER],
        "size_ratio": sizes[CHALLENGER] / sizes[CHAMPION],
        "same_split": same_split,
        "unit": duel.unit,
    }
    if worst is not None:
        figures |= {"worst_slice": worst, "worst_slice_drop": slices[worst].drop}
    return {name: rounded(value) for name, value in figures.items()}


def rounded(value: Any) -> Any:
    """Return a figure as it is written, rounded to DIGITS; JSON knows no NaN, so that becomes a word."""
    if not isinstance(value, float):
        return value
    return round(value, DIGITS) + 0.0 if np.isfinite(value) else str(value)


def counts(name: str, num_rows: int, gate: SliceGate | None) -> bool:
    """Return whether a slice has enough rows to be judged, and is of a kind that the gate judges."""
    return gate is not None and name.split(" ", 1)[0] in gate.by and num_rows >= gate.min_rows


def faults_of(figures: Mapping[str, Any], found: Comparison, gate: Promotion) -> list[str]:
    """Return the limits that the challenger breaks, each with the figure and the limit."""
    faults: list[str] = []
    if not found.drop_high <= gate.max_drop:  # one that is not a number breaks it, too
        faults.append(
            f"{figures['metric']} {found.challenger:.4f} beside the champion's {found.champion:.4f}: worse by "
            f"{found.drop:.4f}, and by up to {found.drop_high:.4f} for all that {found.judged} tell (max_drop "
            f"{gate.max_drop:g})"
        )
    for name, one in found.slices.items():
        if gate.slices is not None and counts(name, one.num_rows, gate.slices) and one.drop > gate.slices.max_drop:
            faults.append(
                f"accuracy {one.challenger:.4f} beside {one.champion:.4f} on the {one.num_rows:,} rows of {name} "
                f"(slices.max_drop {gate.slices.max_drop:g})"
            )
    if figures["latency_ratio"] > gate.latency.max_ratio:
        faults.append(
            f"{figures['challenger_p50_ms']:.2f} ms for one {figures['unit']} beside {figures['champion_p50_ms']:.2f} "
            f"ms, {figures['latency_ratio']:.2f} times (latency.max_ratio {gate.latency.max_ratio:g})"
        )
    if figures["size_ratio"] > gate.max_size_ratio:
        faults.append(
            f"{figures['challenger_size_bytes'] / 1e6:.1f} MB beside {figures['champion_size_bytes'] / 1e6:.1f} MB, "
            f"{figures['size_ratio']:.2f} times (max_size_ratio {gate.max_size_ratio:g})"
        )
    return faults


def refusal(recipe: str, challenger: Version, champion: Version, verdict: Verdict) -> PromotionError:
    """Return the error to raise for a challenger that did not pass."""
    return PromotionError(
        f"{recipe}: version {challenger.number} does not take the place of version {champion.number}: "
        f"{' and '.join(verdict.faults)}; train further, move the limit on purpose, or 'modelyard promote {recipe} "
        f"--version {challenger.number} --force REASON'",
        report=verdict.figures,
    )
