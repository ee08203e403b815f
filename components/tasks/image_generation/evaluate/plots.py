"""The pictures of a generator: samples, a walk between latents, and the share of each class.

The same samples give the same bytes.

Legend: S samples, Z numbers of a latent, W walks of P steps.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from components.plumbing.plots import MAJORITY, MODEL, Drawing, shown
from components.tasks.image_generation.evaluate.judged import Judged
from serving.predictors.pictures import png_of, tiled
from serving.tasks.image_generation.predictor import Latents, Sampler, draw_latents

NUM_SHOWN = 100
NUM_WALKS, NUM_STEPS = 8, 12
ZOOM = 2


def pictures_of(judged: Judged, sampler: Sampler, *, seed: int) -> dict[str, bytes]:
    """Return the pictures samples and walk, as PNG."""
    steps = walk(draw_latents(seed, NUM_WALKS + 1, size=sampler.latent_size), num_steps=NUM_STEPS)
    return {
        "samples": png_of(tiled(judged.images[:NUM_SHOWN]), zoom=ZOOM),
        "walk": png_of(tiled(sampler.draw(steps), columns=NUM_STEPS), zoom=ZOOM),
    }


def drawing_of(judged: Judged) -> Drawing:
    """Return the plot of the share of each class."""
    most, least = int(judged.shares.argmax()), int(judged.shares.argmin())
    words = (
        "What the classifier takes samples for, beside the training split: the most for "
        f"'{judged.labels[most]}' ({judged.shares[most]:.1%}; {judged.real_shares[most]:.1%} in the training split), "
        f"the fewest for '{judged.labels[least]}' ({judged.shares[least]:.1%}; {judged.real_shares[least]:.1%})."
    )
    return Drawing(partial(draw_classes, judged), words)


def walk(latents: Latents, *, num_steps: int) -> Latents:
    """Return even steps from each latent (W + 1, Z) to the next one, which is left out, (W * P, Z).

    The steps go along the sphere (White 2016): the length of a normal latent hardly varies, and a straight line would
    leave that length, which the generator never saw.
    """
    share = np.linspace(0, 1, num_steps, endpoint=False)[:, None]  # (P, 1)
    found: list[Latents] = []
    for start, end in pairwise(latents):
        cosine = np.clip(start @ end / (np.linalg.norm(start) * np.linalg.norm(end)), -1, 1)
        angle = max(float(np.arccos(cosine)), 1e-6)
        steps = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
        found.append(steps.astype(np.float32))
    return np.concatenate(found)


def draw_classes(judged: Judged) -> Figure:
    """Draw the share of each class among the samples, beside its share of the training split."""
    names = [shown(label, label_id) for label_id, label in enumerate(judged.labels)]
    figure = Figure(figsize=(max(5.0, 0.7 * len(names)), 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.bar(places - 0.2, judged.real_shares, 0.38, color=MAJORITY, label="training split")
    axes.bar(places + 0.2, judged.shares, 0.38, color=MODEL, label=f"{len(judged.images)} samples")
    axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 4 else 0)
    axes.grid(False, axis="x")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(ylabel="share", title="What the classifier takes samples for")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
