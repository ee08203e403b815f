"""compress for generators of images: one graph from a latent to a row, Fréchet distance, samples/s.

The discriminator is left behind, and batch norm becomes part of the linear layers before it. The distance is that of
evaluate, in the features of the classifier that evaluate trained; it is measured from the validation split and then
from the test split. The reference of the speed gate is torch, called as the service calls: one sample and one core a
call.

Legend: S samples, Z numbers of a latent, N numbers of a row.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from components.compress.paths import Inputs
from components.compress.trial import FloatFigures, Golden, Quality, Tested
from components.export import export_graph
from components.export.static import Feeds
from components.models.generating import generating
from components.models.storage import load
from components.plumbing.errors import InputError
from components.tasks.image_generation.judging.classifier import Classifier, Labels, judge_images, load_classifier
from components.tasks.image_generation.judging.frechet import Moments, frechet_distance, moments_of
from components.tasks.image_generation.judging.images import Real, Scale, read_real, read_scale
from components.tasks.image_generation.judging.tables import SAMPLES, Samples, read_samples, sample_table
from components.tasks.image_generation.judging.torch_sampler import float_sampler
from serving.predictors.pictures import WHITE, Images
from serving.tasks.image_generation.predictor import MODEL, ROUTE, Sampler, draw_latents

NUM_ITEMS = 500  # samples of the speed rounds: a second of work for torch
NUM_GOLDEN = 40
MAX_GOLDEN_COUNT = 4


def make_trial(inputs: Inputs) -> "ImageTrial":
    """Return the trial of a generator."""
    scale = read_scale(inputs.predictor)
    return ImageTrial(
        scale=scale,
        model=load(inputs.model),
        float_results=inputs.float_results,
        validation=read_real(inputs.validation, scale),
        test_split=read_real(inputs.test, scale),
    )


@dataclass(frozen=True)
class ImageTrial:
    """The trial of a generator of images: how it is exported, run and judged."""

    scale: Scale
    model: nn.Module
    float_results: Path
    """The folder `results/` of evaluate, which is read when it is needed first."""
    validation: Real
    test_split: Real
    metric: str = "frechet_distance"
    unit: str = "samples"

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier that evaluate trained, in whose features images are compared."""
        return load_classifier(self.float_results, shape=self.scale.shape, num_labels=len(self.scale.labels))

    @cached_property
    def judged(self) -> Samples:
        """The float generator's samples, as evaluate judged them."""
        return read_samples(self.float_results, shape=self.scale.shape)

    @property
    def float_size_bytes(self) -> int:
        """The size of the generator's fp32 weights, in bytes, without the discriminator."""
        return sum(v.nbytes for v in generating(self.model).generator.state_dict().values() if v.is_floating_point())

    @property
    def num_validation(self) -> int:
        return len(self.validation.images)

    @property
    def items(self) -> Sequence[Any]:
        """The seeds of the speed rounds, one sample each."""
        return range(NUM_ITEMS)

    def judge_float(self) -> FloatFigures:
        batched = float_sampler(self.model, shape=self.scale.shape)
        started = time.perf_counter()
        images = self.sampled(batched)
        seconds = time.perf_counter() - started
        return FloatFigures(quality=self.distance(images, self.validation), units_per_s=len(images) / seconds)

    def float_runner(self, *, threads: int) -> Sampler:
        return float_sampler(self.model, shape=self.scale.shape, batch_size=1, threads=threads)

    def batched_runner(self, *, threads: int) -> None:
        """Return nothing: one request draws few samples, which no batch would hold."""

    def export(self, model: nn.Module | None = None) -> Mapping[str, onnx.ModelProto]:
        if model is not None:
            raise InputError("compress.students is for classifiers; an image generator has none: leave it out")
        return {MODEL: export_generator(self.model)}

    def settle_batches(self, folder: Path) -> int:
        return 1

    def calibrate(self, folder: Path, *, threads: int) -> tuple[()]:
        return ()

    def feeds(self, num_rows: int) -> Sequence[Feeds]:
        return [{"latents": draw_latents(self.judged.seed + 1, num_rows, size=generating(self.model).latent_size)}]

    def load(self, folder: Path, *, threads: int) -> Sampler:
        return Sampler.load(folder, threads=threads)

    def quality(self, runner: Sampler) -> Quality:
        return self.distance(self.sampled(runner), self.validation)

    def work(self, runner: Sampler, items: Sequence[Any]) -> int:
        latents = [draw_latents(seed, 1, size=runner.latent_size) for seed in items]
        runner.draw(np.concatenate(latents))
        return len(items)

    def test(self, runner: Sampler) -> Tested:
        images = self.sampled(runner)
        predicted = self.classes(images)
        return Tested(
            num_test=len(self.test_split.images),
            judged=f"{len(images):,} samples beside the {len(self.test_split.images):,} images of the test split",
            float_quality=self.distance(self.judged.images, self.test_split),
            quality=self.distance(images, self.test_split),
            agreement=float((predicted == self.judged.predicted).mean()),
            mean_difference=float(np.abs(images.astype(np.float32) - self.judged.images).mean()) / WHITE,
            tables={SAMPLES: sample_table(seed=self.judged.seed, images=images, predicted=predicted)},
            golden=list(golden_of(runner)),
        )

    def sampled(self, runner: Sampler) -> Images:
        """Draw as many samples as evaluate judged, from the same latents."""
        return runner.sample(self.judged.seed, len(self.judged.images))

    def classes(self, images: Images) -> Labels:
        return judge_images(self.classifier, images)[1]

    def distance(self, images: Images, real: Real) -> Quality:
        return Quality(frechet_distance(self.moments(images), self.moments(real.images)))

    def moments(self, images: Images) -> Moments:
        return moments_of(judge_images(self.classifier, images)[0])


def golden_of(runner: Sampler) -> Iterable[Golden]:
    """Yield requests of a few seeds and counts, with the images as the service gives them."""
    for seed in range(NUM_GOLDEN):
        count = 1 + seed % MAX_GOLDEN_COUNT
        request = {"seed": seed, "count": count, "format": "array"}
        yield Golden(route=ROUTE, request=request, answer=runner.sample(seed, count).tolist())


def export_generator(model: nn.Module) -> onnx.ModelProto:
    """Export the generator in fp32, for any number of samples: latents (S, Z) → rows (S, N)."""
    made = generating(model)
    latents = torch.zeros((2, made.latent_size))
    dynamic = {"latents": {0: torch.export.Dim.DYNAMIC}}
    return export_graph(folded(made.generator.eval()), {"latents": latents}, outputs=["rows"], dynamic=dynamic)


def folded(module: nn.Module) -> nn.Module:
    """Return the same function, with batch norm folded into a linear layer that stands before it in a sequence.

    Any other module stays as it is, and its batch norm is exported.
    """
    if not isinstance(module, nn.Sequential):
        return module
    layers: list[nn.Module] = []
    for layer in module:
        before = layers[-1] if layers else None
        if isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            layers[-1] = fuse_linear_bn_eval(before, layer)
        else:
            layers.append(folded(layer))
    return nn.Sequential(*layers)
