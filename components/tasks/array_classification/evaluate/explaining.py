"""The explanations of a sample of the images of the test split: which patches moved the answers, with their proof.

Occlusion asks the int8 export of the model, which is what is served where compress chooses the candidate `int8`. A
patch is taken away by the commonest number of the training split, which is the background of most images.

Legend: N images, V values, H height, W width, P patches.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.evaluate.explanations.faithfulness import Parted
from components.evaluate.explanations.patches import MAX_IMAGES, Image, covered, patch_of, patches_of, shown_image
from components.evaluate.explanations.sample import sampled, shuffled, spread
from components.evaluate.explanations.study import Explained, study
from components.evaluate.explanations.tables import Found, ShownImage, found_of
from components.evaluate.stage import Inputs
from components.export import write_int8
from components.models.storage import load
from components.params import Bootstrap, Explain
from components.plumbing.progress import progress
from components.tasks.array_classification.judging.export import export_classifier
from serving.predictors import explaining
from serving.predictors.explaining import leave_out
from serving.tasks.array_classification.predictor import MODEL, Predictor, PredictorSettings


def explain(
    settings: Explain, inputs: Inputs, *, about: PredictorSettings, values: NDArray[np.float32],
    rows: Sequence[int], actual: Sequence[int], cover: float, bootstrap: Bootstrap,
) -> Found:  # fmt: skip
    """Return the explanations of a sample of the images, with their figures.

    `values` (N, V) has the arrays as they came, not scaled, `rows` the number of each in data.parquet, `actual` its
    label number, and `cover` is the number that stands where a patch is taken away.
    """
    shape = (about.shape[0], about.shape[1])
    patches = patches_of(shape)
    with TemporaryDirectory(prefix="modelyard-explain-") as scratch:
        ours = served(load(inputs.model), about, inputs.predictor, Path(scratch, "model"))
        unlearned = shuffled(load(inputs.model), seed=settings.seed)
        random = served(unlearned, about, inputs.predictor, Path(scratch, "random"))
        studied: list[Explained[Image]] = []
        shown: list[ShownImage] = []
        chosen = sampled(len(values), settings)
        with progress("explain", total=len(chosen)) as bar:
            for number, index in enumerate(chosen):
                image = values[index].reshape(shape)
                found = occluded(ours, image, patches, cover=cover)
                label_id = int(found.scores.argmax())
                effects = found.effects[:, label_id]
                of_random = occluded(random, image, patches, cover=cover).effects[:, label_id]
                keep = keeping(image, patches, cover=cover)
                row = Parted(label_id=label_id, num_parts=len(effects), keep=keep)
                studied.append(Explained(row, {"occlusion": effects}, {"occlusion": of_random}))
                labels = {"label": about.labels[actual[index]], "answer": about.labels[label_id]}
                shown.append(
                    shown_image(image, effects, row=rows[index], score=float(found.scores[label_id]), **labels)
                )
                bar.update(number + 1)
        judged = study(ours.predict, studied, seed=settings.seed, bootstrap=bootstrap)
    return found_of(
        judged,
        num_rows=len(studied),
        confidence=bootstrap.confidence,
        parts="patches",
        images=spread(shown, most=MAX_IMAGES),
        patch=patch_of(shape),
    )


def served(model: nn.Module, about: PredictorSettings, predictor: Path, folder: Path) -> Predictor:
    """Return the predictor of the model's int8 export, which is written into a new folder."""
    graph = export_classifier(model, about)
    write_int8({MODEL: graph}, predictor=predictor, folder=folder)
    return Predictor.load(folder, threads=torch.get_num_threads())


def keeping(image: Image, patches: NDArray[np.int64], *, cover: float) -> Callable[[NDArray[np.bool_]], Image]:
    """Return a function that gives the image with only some of its patches, (P,)."""
    return lambda kept: covered(image, patches, kept, cover=cover)


def occluded(predictor: Predictor, image: Image, patches: NDArray[np.int64], *, cover: float) -> explaining.Explained:
    """Return the effect of each patch of an image (H, W) on the score of each label."""
    others = ~np.eye(int(patches.max()) + 1, dtype=np.bool_)  # (P, P), all but one in each line
    keep = keeping(image, patches, cover=cover)
    return leave_out(predictor.predict, image, [keep(kept) for kept in others])


def commonest(values: NDArray[np.float32]) -> float:
    """Return the number that occurs the most; the least of those that tie."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])
