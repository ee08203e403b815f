"""What a token costs by its position, with the model's state kept and with the whole window read again.

    python benchmarks/generation.py [--rounds 5] [--plot docs/generation.png]

Transformer and LSTM of the speech recipes' size with random weights, as they are served (ONNX Runtime, one core), in
fp32 and int8. Compares a token at the end of the context with one near its beginning, and with reading all of the
window again. The plot has all positions, also past the context, where the Transformer reads half of the window again
every 128 tokens; there each is the least of the rounds, since what else the machine does only adds.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.export import quantize
from components.models.facts import Facts
from components.models.storage import build
from components.params.families import FAMILIES
from components.recipes import load_yaml
from components.tasks.text_generation.judging.export import export_step
from components.tasks.text_generation.judging.stepping import stepping_of
from results import Row, Section, show
from serving.tasks.text_generation.predictor import OnnxStep, Reading, Step

ROOT = Path(__file__).parent.parent
RECIPES: dict[str, Any] = load_yaml(ROOT / "params.yaml")["recipes"]
DATA: dict[str, Any] = RECIPES["speech_gpt"]["preprocess"]
CONTEXT, VOCAB_SIZE = int(DATA["context"]), int(DATA["tokenizer"]["vocab_size"])
NUM_TOKENS = 2 * CONTEXT
MODELS: dict[str, Any] = {family: RECIPES[f"speech_{family}"]["pretrain"]["model"] for family in ("gpt", "lstm")}
EVERY = 32  # positions between two that are timed by reading again
COLORS = {"fp32": "#b06a3b", "int8": "#1f5fa8"}
INK, GRID = "#22303c", "#e7eaee"


@dataclass(frozen=True)
class Times:
    """Milliseconds a token."""

    kept: NDArray[np.float64]
    """With the state, at each position."""
    again: NDArray[np.float64]
    """Without it, at every EVERY-th position."""

    @property
    def positions(self) -> NDArray[np.int64]:
        return np.arange(len(self.again)) * EVERY + EVERY - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path, default=None, help="where to write the plot (PNG)")
    args = parser.parse_args()
    section = Section("generation")
    ids = np.random.default_rng(0).integers(0, VOCAB_SIZE, NUM_TOKENS).tolist()
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: step for family in MODELS for name, step in make_steps(family, Path(folder)).items()}
    rounds: dict[tuple[str, str], list[Times]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):  # the first round warms up, and is not counted
        for name, step in steps.items():
            rounds[name].append(Times(kept=time_kept(step, ids), again=time_again(step, ids)))
    times = {
        name: Times(
            kept=np.min([one.kept for one in found[1:]], axis=0),
            again=np.min([one.again for one in found[1:]], axis=0),
        )
        for name, found in rounds.items()
    }
    rows = [row for name, found in rounds.items() for row in rows_of(" ".join(name), found[1:])]
    show(rows)
    section.record(rows)
    if args.plot is not None:
        draw(times, args.plot)


def make_steps(family: str, folder: Path) -> dict[tuple[str, str], Step]:
    """The family's model as it is served, by (family, fp32 or int8)."""
    torch.manual_seed(0)
    settings: Any = FAMILIES[family].model_validate({"family": family, **MODELS[family]})
    model = build(settings, Facts(vocab_size=VOCAB_SIZE, context=CONTEXT)).eval()
    graph = export_step(stepping_of(model, family=family))
    onnx.save(graph, folder / f"{family}-fp32.onnx")
    quantize(graph, folder / f"{family}-int8.onnx")
    return {(family, kind): OnnxStep(folder / f"{family}-{kind}.onnx") for kind in ("fp32", "int8")}


def time_kept(step: Step, ids: list[int]) -> NDArray[np.float64]:
    """Milliseconds of each token, read after those before it."""
    reading = Reading(step, context=CONTEXT)
    times = np.zeros(len(ids))
    for position, token in enumerate(ids):
        started = time.perf_counter()
        reading.last([token])
        times[position] = 1000 * (time.perf_counter() - started)
    return times


def time_again(step: Step, ids: list[int]) -> NDArray[np.float64]:
    """Milliseconds of every EVERY-th token, read with all that the model sees before it."""
    times: list[float] = []
    for position in range(EVERY, len(ids) + 1, EVERY):
        window = ids[max(0, position - CONTEXT) : position] if step.takes_position else ids[:position]
        started = time.perf_counter()
        Reading(step, context=CONTEXT).last(window)
        times.append(1000 * (time.perf_counter() - started))
    return np.array(times)


def rows_of(name: str, rounds: list[Times]) -> list[Row]:
    """The last tokens of the context beside its first ones, and beside the whole window read again."""
    early, late = ([float(np.median(one.kept[end - 16 : end])) for one in rounds] for end in (40, CONTEXT))
    again = [float(one.again[CONTEXT // EVERY - 1]) for one in rounds]

    def told(times: list[float]) -> str:
        return f"{np.median(times):.2f} ms"

    longer = [last / first for last, first in zip(late, early, strict=True)]
    saved = [whole / last for whole, last in zip(again, late, strict=True)]
    return [
        Row(f"{name}: token {CONTEXT} over token 32", longer, told(late), told(early)),
        Row(f"{name}: all read again over the state kept", saved, told(late), told(again)),
    ]


def draw(times: dict[tuple[str, str], Times], path: Path) -> None:
    """A panel a family: solid with the state, dotted without."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(MODELS), sharey=True)
    for axes, family in zip(panels, MODELS, strict=True):
        for kind, color in COLORS.items():
            found = times[family, kind]
            axes.plot(np.arange(NUM_TOKENS) + 1, found.kept, color=color, lw=1.2, label=f"{kind}, state kept")
            axes.plot(found.positions + 1, found.again, color=color, lw=1.2, ls=":", label=f"{kind}, all read again")
        axes.axvline(CONTEXT, color=INK, lw=0.6, ls="--")
        axes.set_yscale("log")
        axes.set_title(family, loc="left", fontweight="bold", fontsize=11)
        axes.set_xlabel("position of the token")
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds a token, one core")
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=80, metadata={"Software": None}, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
