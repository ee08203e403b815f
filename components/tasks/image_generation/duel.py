"""The champion gate for generators of images: the Fréchet distance of samples of one seed from the test split.

Features are those of the classifier that evaluate trained for the challenger. The bootstrap draws samples, by the same
numbers for both generators: with one seed and one latent size, these are answers to the same latents. The drop is a
share of the champion's distance.

Legend: S samples or resamples, N rows, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.comparison.duel import Comparison, HeldOut, paired
from components.evaluate.classification.metrics import Figures, Statistic, Weights
from components.params import Bootstrap
from components.tasks.image_generation.judging.classifier import Classifier, judge_images, load_classifier
from components.tasks.image_generation.judging.frechet import Moments, frechet_distance, moments_of
from components.tasks.image_generation.judging.images import read_real, read_scale
from components.tasks.image_generation.judging.tables import read_samples
from serving.tasks.image_generation.predictor import Sampler

NUM_ITEMS = 500
INDIFFERENCE = 0.02
"""2 % of the champion's Fréchet distance."""

Features = NDArray[np.float64]
"""What the classifier sees in each sample, (N, D)."""


def make_duel(data: HeldOut, *, metric: str) -> "ImageDuel":
    """Return the comparison of two generators of images by `metric`, beside the challenger's test split."""
    scale = read_scale(data.predictor)
    classifier = load_classifier(data.results, shape=scale.shape, num_labels=len(scale.labels))
    judged = read_samples(data.results, shape=scale.shape)
    real = read_real(data.test, scale).images
    return ImageDuel(
        metric, classifier, moments_of(judge_images(classifier, real)[0]), len(real), judged.seed, len(judged.images)
    )


@dataclass(frozen=True)
class ImageDuel:
    """The comparison of two generators by the Fréchet distances of their samples."""

    metric: str
    classifier: Classifier
    real: Moments
    """The moments of the features of the test split."""
    num_real: int
    seed: int
    num_samples: int
    unit: str = "sample"
    indifference: float = INDIFFERENCE

    @property
    def items(self) -> Sequence[Any]:
        """The seeds of the speed rounds, one sample each."""
        return range(NUM_ITEMS)

    def load(self, bundle: Path, *, threads: int) -> Sampler:
        return Sampler.load(bundle, threads=threads)

    def work(self, runner: Sampler, items: Sequence[Any]) -> int:
        for seed in items:
            runner.sample(seed, 1)
        return len(items)

    def answers(self, runner: Sampler) -> Features:
        images = runner.sample(self.seed, self.num_samples)
        return judge_images(self.classifier, images)[0].astype(np.float64)

    def compare(self, champion: Features, challenger: Features, *, bootstrap: Bootstrap) -> Comparison:
        ours, theirs = self.distances(champion), self.distances(challenger)
        before, after, drop = paired(
            ours, theirs, self.metric, num_rows=self.num_samples, bootstrap=bootstrap, sign=-1.0
        )
        drop = drop / before if before else drop
        return Comparison(
            judged=f"{self.num_samples:,} samples beside the {self.num_real:,} images of the test split",
            champion=before,
            challenger=after,
            drop=float(drop[0]),
            drop_low=float(drop[1]),
            drop_high=float(drop[2]),
        )

    def distances(self, features: Features) -> Statistic:
        """Return a function that gives the Fréchet distance of each resample of the samples, (S,)."""

        def statistic(weights: Weights) -> Figures:
            found = [frechet_distance(weighted(features, column), self.real) for column in weights.T]
            return {self.metric: np.array(found)}

        return statistic


def weighted(features: NDArray[np.float64], weights: NDArray[np.float32]) -> Moments:
    """Return the moments of features (N, D), each row of which counts as often as it was drawn, `weights` (N,)."""
    count = float(weights.sum())
    mean = weights @ features / count  # (D,)
    apart = features - mean
    return Moments(mean=mean, covariance=(apart * weights[:, None]).T @ apart / (count - 1))
