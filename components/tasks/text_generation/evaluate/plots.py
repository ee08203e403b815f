"""The pictures of a language model; the same figures give the same bytes."""

import csv
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.evaluate.figures import rounded
from components.plumbing.plots import BASELINE, CONTROL, INK, MAJORITY, Drawing
from components.plumbing.plots import MODEL as BLUE
from components.tasks.text_generation.evaluate.judged import MODEL, Found, Judged

COLOURS = {"xz": MAJORITY, "byte_ngram": CONTROL, "token_ngram": BASELINE, MODEL: BLUE}
NAMES = {"xz": "xz -9", "byte_ngram": "byte n-gram", "token_ngram": "token n-gram", MODEL: "model"}


def drawings_of(judged: Judged, found: Found, *, confidence: float) -> dict[str, Drawing]:
    """Return the plots comparison, position and documents."""
    per_byte = judged.bits[MODEL] / judged.documents.num_bytes
    value, low, high = found[MODEL].tolist()
    rivals = ", ".join(f"{NAMES[name]} {found[name][0]:.3f}" for name in judged.baselines)
    return {
        "comparison": Drawing(
            partial(draw_comparison, judged, found, confidence=confidence),
            f"Bits per byte of the test documents, of which fewer are better: the model {value:.3f} ({low:.3f} to "
            f"{high:.3f}), {rivals}.",
        ),
        "position": Drawing(
            partial(draw_position, judged),
            "The mean bits per token by the number of tokens before it: how far the line falls is what the beginning "
            "of a document tells of the rest.",
        ),
        "documents": Drawing(
            partial(draw_documents, judged),
            f"The bits per byte of each document, in the order of the source: the model's lie between "
            f"{per_byte.min():.3f} and {per_byte.max():.3f}.",
        ),
    }


def write_comparison(path: Path, judged: Judged, found: Found) -> None:
    """Write the bits per byte of each system, and the ends of its interval, as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["system", "bits_per_byte", "low", "high"])
        for system in [*judged.baselines, MODEL]:
            writer.writerow([system, *map(rounded, found[system].tolist())])


def draw_comparison(judged: Judged, found: Found, *, confidence: float) -> Figure:
    """Draw the bits per byte of each system as a bar with its interval."""
    systems = [*judged.baselines, MODEL]
    values, low, high = np.array([found[system] for system in systems]).T
    figure = Figure(figsize=(7, 1.4 + 0.5 * len(systems)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(systems))[::-1]
    # The interval of a percentile bootstrap need not hold the value itself.
    errors = np.maximum([values - low, high - values], 0)
    colours = [COLOURS[system] for system in systems]
    axes.barh(places, values, 0.6, color=colours, xerr=errors, ecolor=INK, capsize=3)
    for place, value, end in zip(places, values, high, strict=True):
        axes.text(max(value, end) + 0.02 * values.max(), place, f"{value:.3f}", va="center", fontsize=9)
    axes.set_yticks(places, [NAMES[system] for system in systems])
    axes.set(xlim=(0, 1.15 * high.max()), xlabel=f"bits per byte of the test documents, {confidence:.0%} interval")
    axes.set_title("Fewer bits are better")
    axes.grid(False, axis="y")
    return figure


def draw_position(judged: Judged) -> Figure:
    """Draw the mean bits per token by the number of tokens before it, which shows what context is worth."""
    lengths = judged.documents.num_tokens
    edges = edges_of(int(lengths.max()))
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for system in (MODEL, "token_ngram"):
        bits = by_position(judged.log2[system], edges)
        axes.plot(np.arange(len(bits)), bits, "o-", color=COLOURS[system], label=NAMES[system])
    axes.set_xticks(range(len(edges) - 1), [label_of(low, high) for low, high in pairwise(edges)])
    axes.tick_params(axis="x", rotation=45, labelsize=8.5)
    axes.set(xlabel="tokens of the document before", ylabel="bits per token", ylim=(0, None))
    axes.set_title(f"What the beginning tells of the rest ({len(lengths)} documents)")
    axes.legend()
    return figure


def edges_of(longest: int) -> list[int]:
    """Return the edges of the bins over the place of a token, each four times as far as the one before."""
    edges = [0, 1, 4]
    while edges[-1] < longest:
        edges.append(min(edges[-1] * 4, longest))
    return edges


def label_of(low: int, high: int) -> str:
    return f"{low}" if high == low + 1 else f"{low}-{high - 1}"


def by_position(log2: Sequence[NDArray[np.float64]], edges: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean bits of the symbols whose place lies in each bin; NaN where there is none."""
    place = np.concatenate([np.arange(len(one)) for one in log2])
    bits = -np.concatenate(log2)
    bins = np.digitize(place, edges) - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    sums = np.bincount(bins[inside], weights=bits[inside], minlength=len(edges) - 1)
    counts = np.bincount(bins[inside], minlength=len(edges) - 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def draw_documents(judged: Judged) -> Figure:
    """Draw the bits per byte of each document, in the order of the source."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for system, bits in judged.bits.items():
        per_byte = bits / judged.documents.num_bytes
        axes.plot(judged.documents.row, per_byte, "o-", ms=4, color=COLOURS[system], label=NAMES[system])
    axes.set(xlabel="document, by its row in the source", ylabel="bits per byte", ylim=(0, None))
    axes.set_title("Each test document")
    axes.legend(ncols=3, loc="lower left")
    return figure
