"""The figures of a generator, and its quality gate.

Samples and real images are compared in the features of a classifier that is trained on the real training split. Two
Fréchet distances stand beside the generator's: that of the same network untrained, and that of the training split from
the test split, which is what remains between real and real. A generator that collapsed leaves classes out, prefers one,
or makes samples that are all alike, whatever its distance; one that copies lies nearer to the training rows than real
rows do.
"""

import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.evaluate.figures import rounded, shortened
from components.evaluate.page import write_page
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import load
from components.params import ImageGenerationFigures, SampleGate
from components.plumbing.artifacts import PAGE, write_json
from components.plumbing.errors import QualityError, examples
from components.plumbing.pages import Part
from components.plumbing.plots import save_drawings
from components.tasks.image_generation.evaluate.distances import mean_nearest, mean_pairwise
from components.tasks.image_generation.evaluate.judged import Judged
from components.tasks.image_generation.evaluate.page import headline_of, parts_of
from components.tasks.image_generation.evaluate.plots import drawing_of, pictures_of
from components.tasks.image_generation.judging.classifier import (
    Classifier,
    judge_images,
    save_classifier,
    train_classifier,
)
from components.tasks.image_generation.judging.frechet import frechet_distance, moments_of
from components.tasks.image_generation.judging.images import Real, Scale, read_real, read_scale
from components.tasks.image_generation.judging.tables import write_samples
from components.tasks.image_generation.judging.torch_sampler import float_sampler
from components.tracking.tracker import Tracker
from serving.predictors.pictures import Images


@dataclass(frozen=True)
class Report:
    """The figures of the generator's samples."""

    num_samples: int
    num_real: int
    """The number of images of the training and the test split, with which the samples are compared."""
    num_classes: int
    classifier_accuracy: float
    """The accuracy on the test split of the classifier in whose features images are compared."""
    frechet_distance: float
    """The Fréchet distance of the samples from the training and the test split together."""
    frechet_ratio: float
    """The Fréchet distance over that of the untrained generator."""
    untrained_frechet_distance: float
    """The Fréchet distance of the untrained generator's samples from the training and the test split together."""
    real_frechet_distance: float
    """The Fréchet distance of the training split from the test split."""
    test_frechet_distance: float
    """The Fréchet distance of the samples from the test split alone, unseen by classifier and generator."""
    num_classes_present: int
    max_class: str
    """The class that the classifier takes most samples for."""
    max_class_share: float
    min_class_share: float
    diversity: float
    """The mean distance between two samples, over that between two training rows."""
    nearest_distance: float
    """The mean distance of a sample from the nearest training row, in grey levels (root mean square)."""
    real_nearest_distance: float
    """The mean distance of a test row from the nearest training row, in grey levels (root mean square)."""

    def headline(self) -> dict[str, float]:
        """Return the figure by which reports are compared, with its name."""
        return {"frechet_distance": shortened(self.frechet_distance)}


def measure(params: ImageGenerationFigures, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the generator's samples; return the report.

    Raise QualityError where the gate fails, and InputError where a split holds fewer than two rows.
    """
    scale = read_scale(inputs.predictor)
    train, test = read_real(inputs.train, scale), read_real(inputs.test, scale)
    classifier = train_classifier(
        train.images, train.label_id, num_labels=len(scale.labels), epochs=params.classifier_epochs, seed=params.seed
    )
    save_classifier(classifier, outputs.results)

    model = load(inputs.model)
    started = time.perf_counter()
    images = sampled(model, scale, params)
    tracker.log_metrics({"samples_per_s": len(images) / (time.perf_counter() - started)}, step=0)
    untrained = sampled(reset(model, seed=params.seed), scale, params)

    features, predicted = judge_images(classifier, images)
    num_classes = len(scale.labels)
    judged = Judged(
        labels=scale.labels,
        images=images,
        predicted=predicted,
        shares=np.bincount(predicted, minlength=num_classes) / len(images),
        real_shares=np.bincount(train.label_id, minlength=num_classes) / len(train.images),
    )
    distances = distances_of(features, judge_images(classifier, untrained)[0], classifier, train=train, test=test)
    report = summarise(judged, distances, train=train, test=test)
    write_samples(outputs.results, seed=params.seed, images=images, predicted=predicted)
    write_json(outputs.results / "class_shares.json", shares_by_label(judged))
    pictures, classes = (
        pictures_of(judged, float_sampler(model, shape=scale.shape), seed=params.seed),
        drawing_of(judged),
    )
    for name, png in pictures.items():
        (outputs.plots / f"{name}.png").write_bytes(png)
    save_drawings(outputs.plots, {"classes": classes})
    faults = faults_of(report, judged, params.gate)
    more: list[Part] = []
    write_page(
        outputs.results / PAGE,
        title=inputs.recipe,
        headline=headline_of(asdict(report), params),
        faults=faults,
        parts=parts_of(judged, asdict(report), pictures, classes, more, title=inputs.recipe),
    )
    if faults:
        raise QualityError(
            f"{'; and '.join(faults)}. Train the generator longer or with a lower learning rate, or move the limit; "
            "the page and the samples are in the observations",
            report=asdict(report),
        )
    return report


def sampled(model: nn.Module, scale: Scale, params: ImageGenerationFigures) -> Images:
    """Draw the samples that are judged."""
    return float_sampler(model, shape=scale.shape).sample(params.seed, params.num_samples)


def reset(model: nn.Module, *, seed: int) -> nn.Module:
    """Return a copy of the network with weights drawn anew from `seed`, as before its first step."""
    untrained = deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in untrained.modules():
            begin: Any = getattr(part, "reset_parameters", None)
            if begin is not None:
                begin()
    return untrained


def distances_of(
    samples: NDArray[np.float32], untrained: NDArray[np.float32], classifier: Classifier, *, train: Real, test: Real
) -> dict[str, float]:
    """Return the classifier's accuracy and the Fréchet distances by the report's names.

    `samples` and `untrained` are features (S, D).
    """
    of_train, _ = judge_images(classifier, train.images)
    of_test, predicted = judge_images(classifier, test.images)
    real, held_out = moments_of(np.concatenate([of_train, of_test])), moments_of(of_test)
    generated = moments_of(samples)
    distance, untrained_distance = frechet_distance(generated, real), frechet_distance(moments_of(untrained), real)
    return {
        "classifier_accuracy": float((predicted == test.label_id).mean()),
        "frechet_distance": distance,
        "frechet_ratio": distance / untrained_distance if untrained_distance else float("inf"),
        "untrained_frechet_distance": untrained_distance,
        "real_frechet_distance": frechet_distance(moments_of(of_train), held_out),
        "test_frechet_distance": frechet_distance(generated, held_out),
    }


def summarise(judged: Judged, distances: dict[str, float], *, train: Real, test: Real) -> Report:
    """Return the report, with rounded figures."""
    between = mean_pairwise(train.images)
    figures = distances | {
        "max_class_share": judged.shares.max(),
        "min_class_share": judged.shares.min(),
        "diversity": mean_pairwise(judged.images) / between if between else 0.0,
        "nearest_distance": mean_nearest(judged.images, train.images),
        "real_nearest_distance": mean_nearest(test.images, train.images),
    }
    return Report(
        num_samples=len(judged.images),
        num_real=len(train.images) + len(test.images),
        num_classes=len(judged.labels),
        num_classes_present=int((judged.shares > 0).sum()),
        max_class=judged.labels[int(judged.shares.argmax())],
        **{name: rounded(value) for name, value in figures.items()},
    )


def shares_by_label(judged: Judged) -> dict[str, dict[str, float]]:
    """Return the share of the samples and of the training split that each label has."""
    return {
        label: {"share": rounded(share), "real_share": rounded(real)}
        for label, share, real in zip(judged.labels, judged.shares, judged.real_shares, strict=True)
    }


def faults_of(report: Report, judged: Judged, gate: SampleGate) -> list[str]:
    """Apply the quality gate: return all that is missing, a collapse of the generator first, in words."""
    faults = collapse_of(report, judged, gate)
    if report.frechet_ratio > gate.max_frechet_ratio:
        faults.append(
            f"the Fréchet distance {report.frechet_distance:.1f} is {report.frechet_ratio:.3f} of the untrained "
            f"generator's {report.untrained_frechet_distance:.1f}, above evaluate.gate.max_frechet_ratio "
            f"{gate.max_frechet_ratio:g} (real from real: {report.real_frechet_distance:.1f})"
        )
    if report.classifier_accuracy < gate.min_classifier_accuracy:
        faults.append(
            f"the classifier behind these figures has an accuracy of {report.classifier_accuracy:.4f}, below "
            f"evaluate.gate.min_classifier_accuracy {gate.min_classifier_accuracy:g}: raise evaluate.classifier_epochs"
        )
    return faults


def collapse_of(report: Report, judged: Judged, gate: SampleGate) -> list[str]:
    """Return the message that the generator collapsed, in a list; empty where nothing speaks for it.

    Signs of a collapse are classes without a sample, one with too many, and samples that are all alike.
    """
    signs: list[str] = []
    missing = [label for label, share in zip(judged.labels, judged.shares, strict=True) if share == 0]
    if missing:
        signs.append(f"none of {report.num_samples} samples is taken for {examples(missing)}")
    if report.max_class_share > gate.max_class_share:
        signs.append(
            f"{report.max_class_share:.1%} of the samples are taken for '{report.max_class}' "
            f"(evaluate.gate.max_class_share {gate.max_class_share:.0%})"
        )
    if report.diversity < gate.min_diversity:
        signs.append(
            f"two samples lie {report.diversity:.2f} times as far apart as two real rows "
            f"(evaluate.gate.min_diversity {gate.min_diversity:g})"
        )
    return [f"the generator collapsed: {', and '.join(signs)}"] if signs else []
