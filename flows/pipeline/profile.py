"""profile: what the steps of a recipe's training wait for; as plain data and as tables."""

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.plumbing.artifacts import FILES, Layout, artifact_names
from components.plumbing.errors import InputError
from components.plumbing.locks import hold
from components.recipes import load_recipe, section_of, stages
from components.tracking.tracker import NullTracker
from flows.pipeline.estimate import duration
from flows.telling.output import Data, plain_table

if TYPE_CHECKING:
    from components.params import Recipe
    from components.stages import Stage

TRAININGS = ("finetune", "pretrain")
FOLDER = "profile"
"""The folder, among a recipe's observations, with the traces of its trainings."""


@dataclass(frozen=True)
class Reader(NullTracker):
    """A tracker that keeps nothing, and brings the champion's weights where a training starts from them."""

    root: Path
    recipe: str

    def champion_weights(self, folder: Path) -> Path | None:
        from components.tracking.registry import noted_weights
        from components.tracking.store import Store

        digest = noted_weights(self.root, self.recipe)
        return Store(self.root, self.recipe).registry.bring_weights(digest, folder) if digest else None


def profile_summary(root: Path, name: str, *, stage: str | None, num_steps: int) -> Data:
    """Take the first steps of a recipe's training under torch's profiler, and tell what they took.

    Raise InputError where the recipe has no such training, or where what it reads is not there yet.
    """
    recipe = load_recipe(root, name)
    chosen, work = chosen_training(recipe, name, stage)
    assert work.trainings is not None
    with (
        hold(root, name, doing=f"modelyard profile {name}", wait=False),
        tempfile.TemporaryDirectory(prefix="modelyard-profile-") as folder,
    ):
        layout = Layout(root, name, chosen)
        inputs = inputs_of(layout, work)
        from components.profiling.profile import profile  # takes seconds, after what may be wrong with the inputs

        outputs = layout.outputs(work.Outputs, folder=Path(folder) / "artifact", fingerprint="")
        training, *_ = work.trainings(section_of(recipe, chosen), inputs, outputs, tracker=Reader(root, name))
        training = replace(training, checkpoints=Path(folder) / "checkpoints")
        found = profile(training, num_steps=num_steps, trace=trace_of(root, name, chosen), tracker=NullTracker())
    return {"recipe": name, "stage": chosen} | asdict(found)


def trace_of(root: Path, name: str, stage: str) -> Path:
    """Return where the trace of a stage's training lies; TensorBoard's profiler knows it by the end of its name."""
    return Layout(root, name, FOLDER).observations / f"{stage}.pt.trace.json.gz"


def chosen_training(recipe: "Recipe", name: str, stage: str | None) -> tuple[str, "Stage"]:
    """Return the stage whose training is meant, the last of the recipe's where none is named; InputError where there
    is none."""
    from components.stages import STAGES

    works = {one: STAGES[one](recipe) for one in TRAININGS}
    trained = [one for one, work in works.items() if work.trainings]
    if not trained:
        raise InputError(f"recipe '{name}' trains nothing: pretrain.mode and finetune.mode are no trainings")
    if stage is not None and stage not in trained:
        mode = getattr(section_of(recipe, stage), "mode", "")
        raise InputError(
            f"{stage} of '{name}' trains nothing, since its mode is '{mode}'; its training is that of {trained[0]}: "
            f"modelyard profile {name} --stage {trained[0]}"
        )
    return (chosen := stage or trained[0]), works[chosen]


def inputs_of(layout: Layout, work: "Stage") -> Any:
    """Bind what the stage reads; InputError where it is not there yet, ArtifactError where it is damaged."""
    before = stages()[stages().index(layout.stage) - 1]
    read = {artifact.split("/")[0] for artifact in artifact_names(work.Inputs)}
    missing = [stage for stage in stages() if stage in read and not (layout.of(stage) / FILES).is_file()]
    if missing:
        raise InputError(
            f"{layout.stage} of '{layout.recipe}' reads what {missing[0]} makes, which is not there yet; "
            f"'modelyard run {layout.recipe} --until {before}' makes it"
        )
    return layout.inputs(work.Inputs)


# ---------------------------------------------------------------- as tables


def profile_tables(data: Data, console: Console) -> None:
    """Print the dearest operations, the share of each phase, the rates, and what binds."""
    console.print(f"{data['recipe']}, {data['title']}: {data['num_steps']} steps on {data['device']}", style="bold")
    table = plain_table("operation", "of a step", "time", "calls")
    for one in data["operations"]:
        table.add_row(one["name"], f"{one['share']:.1%}", duration(one["step_s"]), f"{one['calls']:,.0f}")
    console.print(table)
    console.print()
    phases = plain_table("phase", "of a step")
    for phase, share in data["shares"].items():
        phases.add_row(phase, f"{share:.1%}")
    console.print(phases)
    console.print()
    console.print(rates_table(data))
    console.print()
    console.print(data["verdict"], style="bold", soft_wrap=True)
    console.print(f"Trace, for https://ui.perfetto.dev or TensorBoard: {data['trace']}", soft_wrap=True)


def rates_table(data: Data) -> Any:
    table = plain_table("rate", "")
    slower = f"; {duration(data['recorded_step_s'])} while the profiler records"
    table.add_row("time of a step", duration(data["step_s"]) + slower)
    table.add_row(f"{data['unit']} a second", f"{data['units_per_s']:,.0f}")
    limit = f"{data['limit_flops_per_s'] / 1e9:,.0f} GFLOP/s in {data['precision']}, {data['num_threads']} threads"
    if data["mfu"] is None:
        table.add_row("limit of this machine", limit)
    else:
        table.add_row("operations a second", f"{data['flops_per_s'] / 1e9:,.1f} GFLOP/s")
        table.add_row("limit of this machine", limit)
        table.add_row("share of the limit", f"{data['mfu']:.1%}")
    return table
