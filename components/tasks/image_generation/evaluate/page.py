"""The parts of the page on a generator of images."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluate.page import champion_part, paragraphs
from components.params import ImageGenerationFigures
from components.plumbing.pages import Part, image, table
from components.plumbing.plots import Drawing, figure_of
from components.tasks.image_generation.evaluate.judged import Judged

PICTURE_WIDTH = 560


def headline_of(report: Mapping[str, Any], params: ImageGenerationFigures) -> list[str]:
    """Return the sentences that say what was measured, on how many images, beside what, and what the gate asks."""
    gate = params.gate
    return [
        f"{report['num_samples']:,} samples were compared with {report['num_real']:,} real images: their Fréchet "
        f"distance is {report['frechet_distance']:.1f}, {report['frechet_ratio']:.3f} of the untrained generator's "
        f"({report['untrained_frechet_distance']:.1f}); the gate asks for at most {gate.max_frechet_ratio:g}.",
        f"Real images lie {report['real_frechet_distance']:.1f} from each other. {report['num_classes_present']} of "
        f"{report['num_classes']} classes are among the samples, and {report['max_class_share']:.1%} are of the "
        f"commonest (the gate: all of them, and at most {gate.max_class_share:.0%}); two samples are "
        f"{report['diversity']:.2f} times as far apart as two real images (the gate: at least {gate.min_diversity:g}).",
    ]


def parts_of(
    judged: Judged, report: Mapping[str, Any], pictures: Mapping[str, bytes], classes: Drawing, more: Sequence[Part],
    *, title: str,
) -> list[Part]:  # fmt: skip
    """Return the page's parts in their order; `pictures` are PNGs by name, `more` what only some recipes have."""
    return [
        Part("Figures", distances_table(report)),
        Part("What was compared with what", compared(report, title=title)),
        Part("Samples", picture(pictures["samples"], "Samples of the generator, the first that it drew")),
        Part(
            "Between samples",
            picture(
                pictures["walk"],
                "Even steps between latents: a generator that learned more than single images changes gradually",
            ),
        ),
        Part("Classes", figure_of(classes) + classes_table(judged)),
        *more,
        Part("Copies", copies(report)),
    ]


def distances_table(report: Mapping[str, Any]) -> str:
    """Return the Fréchet distances, what they are measured against, and the classifier behind them."""
    rows = [
        ("the samples from all real images", f"{report['frechet_distance']:.2f}"),
        ("the samples from the test split alone", f"{report['test_frechet_distance']:.2f}"),
        ("the untrained generator's samples from all real images", f"{report['untrained_frechet_distance']:.2f}"),
        ("the training split from the test split", f"{report['real_frechet_distance']:.2f}"),
    ]
    return table(("", "Fréchet distance"), rows, caption="Distances, of which less is better") + paragraphs(
        f"They are taken in the features of a classifier whose accuracy on the test split is "
        f"{report['classifier_accuracy']:.3f}."
    )


def compared(report: Mapping[str, Any], *, title: str) -> str:
    """Return which images were compared, and how, as HTML."""
    return paragraphs(
        f"The samples, {report['num_samples']:,} drawn from one seed, are compared with the training and the test "
        "split together; the test split alone was seen by neither the generator nor the classifier.",
        "A Fréchet distance compares the mean and the spread of features (Heusel et al. 2017). The classifier in whose "
        "features it is taken was trained here on the real training split, so the distances compare with no others.",
        "The same network before its first step shows how much was learned; the distance between the real splits is "
        "what remains between real and real. These figures have no interval: they are of one seed.",
    ) + champion_part(title)


def picture(png: bytes, words: str) -> str:
    drawn = image(png, words=words, width=PICTURE_WIDTH)
    return f'<figure>{drawn}<figcaption aria-hidden="true">{words}.</figcaption></figure>\n'


def classes_table(judged: Judged) -> str:
    """Return the share of each class among the samples and in the training split."""
    rows = [
        (label, f"{share:.1%}", f"{real:.1%}")
        for label, share, real in zip(judged.labels, judged.shares, judged.real_shares, strict=True)
    ]
    return table(("label", "samples", "training split"), rows, caption="Share of each class")


def copies(report: Mapping[str, Any]) -> str:
    """Return how near the samples are to training rows, beside how near unseen real images are."""
    nearest, real = report["nearest_distance"], report["real_nearest_distance"]
    said = "nearer than real images are, which copies would be" if nearest < real else "no nearer than real images are"
    return paragraphs(
        f"A sample lies {nearest:.2f} grey levels (root mean square) from its nearest training row, a test row "
        f"{real:.2f}: samples are {said}."
    )
