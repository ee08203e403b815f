"""The sections of evaluate, one a task: the figures, the baselines and the quality gate."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.section import Positive, Section, Share


class Bootstrap(Section):
    num_samples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


class Baseline(Section):
    """TF-IDF and logistic regression."""

    analyzer: Literal["word", "char", "char_wb"]
    ngrams: tuple[Positive, Positive]
    """Lengths of the n-grams, from the shortest to the longest."""
    C: Annotated[float, Field(gt=0)]
    """Inverse strength of the regularisation."""

    @model_validator(mode="after")
    def _rising(self) -> "Baseline":
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {list(self.ngrams)} go from the shortest to the longest length")
        return self


class LogisticBaseline(Section):
    """Logistic regression on the values."""

    C: Annotated[float, Field(gt=0)]
    """Inverse strength of the regularisation."""


class QualityGate(Section):
    metric: Literal["accuracy", "f1_macro", "mcc"]
    min: float
    """The bar on the test split."""
    min_gain: float
    """The lower end of the paired bootstrap interval of (model - baseline) must lie above this."""


class TextClassificationFigures(Section):
    task: Literal["text_classification"]
    bootstrap: Bootstrap
    baseline: Baseline
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """Bins of equal width over the confidence, for the expected calibration error."""
    num_mistakes: Positive
    """How many of the worst mistakes are kept."""


class ArrayClassificationFigures(Section):
    task: Literal["array_classification"]
    bootstrap: Bootstrap
    baseline: LogisticBaseline
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """Bins of equal width over the confidence, for the expected calibration error."""
    num_mistakes: Positive
    """How many of the worst mistakes are kept."""


class Samples(Section):
    """Texts that the model writes for the report."""

    num_samples: Positive
    max_tokens: Positive
    """Of each."""
    temperature: Annotated[float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=0)]
    """The likeliest tokens that are drawn from; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """The least number of likeliest tokens whose probabilities sum to this are drawn from."""
    seed: Annotated[int, Field(ge=0)]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Taken in turn."""


class LanguageGate(Section):
    max_bits_per_byte: float | None
    """The bar on the test split; null for none."""
    min_gain: float
    """Bits per byte below each of the baselines named in `beat`, at the lower end of the interval."""
    beat: tuple[Literal["xz", "byte_ngram", "token_ngram"], ...]


class TextGenerationFigures(Section):
    task: Literal["text_generation"]
    bootstrap: Bootstrap
    order: Annotated[int, Field(ge=2, le=8)]
    """Of the n-gram baselines (interpolated modified Kneser-Ney)."""
    gate: LanguageGate
    samples: Samples


class SampleGate(Section):
    max_frechet_ratio: Annotated[float, Field(gt=0)]
    """The generator's Fréchet distance over that of an untrained one."""
    max_class_share: Share
    """Of the samples that the classifier takes for one class; every class must be among them."""
    min_diversity: Annotated[float, Field(ge=0)]
    """The mean distance between two samples over that between two real rows; near 0 where all samples are alike."""
    min_classifier_accuracy: Share
    """Of the classifier on the test split; the features of a worse one tell nothing."""


class ImageGenerationFigures(Section):
    task: Literal["image_generation"]
    num_samples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    classifier_epochs: Positive
    """Of the classifier whose features are compared; it is trained here, on the real training split."""
    gate: SampleGate


Evaluate = Annotated[
    TextClassificationFigures | ArrayClassificationFigures | TextGenerationFigures | ImageGenerationFigures,
    Field(discriminator="task"),
]
