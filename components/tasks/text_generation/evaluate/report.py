"""The figures of a language model, and its quality gate.

Bits per byte of the test documents compare models whatever their tokens, and a compressor, too: each system tells every
symbol of every document, its end too, from those before it. Intervals are percentile bootstraps over documents (Efron &
Tibshirani 1993), because the tokens of one document are no independent rows. Writes `documents.parquet`,
`samples.json`, the plots and the page.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluate.explanations.page import part as explanations_part
from components.evaluate.explanations.writing import write_explanations
from components.evaluate.figures import DIGITS, rounded, shortened
from components.evaluate.page import write_page
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import load
from components.params import LanguageGate, TextGenerationFigures
from components.plumbing.artifacts import PAGE, write_json
from components.plumbing.errors import QualityError
from components.plumbing.pages import Part
from components.plumbing.plots import save_drawings
from components.tasks.text_generation.evaluate.baselines import byte_ngram, token_ngram, xz_bits_per_byte
from components.tasks.text_generation.evaluate.documents import read_documents, read_vocabulary
from components.tasks.text_generation.evaluate.judged import MODEL, Found, Judged, figures_of
from components.tasks.text_generation.evaluate.page import headline_of, parts_of
from components.tasks.text_generation.evaluate.plots import drawings_of, write_comparison
from components.tasks.text_generation.evaluate.reading import read
from components.tasks.text_generation.evaluate.writing import Sample, alike, tokens_of, variety, write_samples
from components.tracking.tracker import Tracker
from serving.tasks.text_generation.predictor import TOKENIZER, load_tokenizer

WRITING_THREADS = 2
MAX_SHOWN = 200  # characters of the sample in the report


@dataclass(frozen=True)
class Report:
    """The figures of the test split; `_low` and `_high` are the ends of a bootstrap percentile interval."""

    num_test: int
    """The number of test documents."""
    num_test_bytes: int
    num_test_tokens: int
    confidence: float
    """The confidence of every interval, from 0 to 1."""
    bits_per_byte: float
    bits_per_byte_low: float
    bits_per_byte_high: float
    perplexity: float
    """The perplexity of a token, which compares only with models of the same tokenizer."""
    xz_bits_per_byte: float
    """The bits per byte of the test documents together under xz -9e."""
    byte_ngram_bits_per_byte: float
    """The bits per byte of interpolated modified Kneser-Ney n-grams over bytes, of the training documents."""
    token_ngram_bits_per_byte: float
    """The bits per byte of interpolated modified Kneser-Ney n-grams over tokens, of the training documents."""
    gain_xz: float
    """The bits per byte by which the model lies below xz."""
    gain_xz_low: float
    gain_xz_high: float
    gain_byte_ngram: float
    """The bits per byte by which the model lies below the n-grams over bytes, with a paired interval."""
    gain_byte_ngram_low: float
    gain_byte_ngram_high: float
    gain_token_ngram: float
    """The bits per byte by which the model lies below the n-grams over tokens, with a paired interval."""
    gain_token_ngram_low: float
    gain_token_ngram_high: float
    distinct_1: float
    """The share of different tokens among all tokens of the samples."""
    distinct_2: float
    """The share of different 2-grams among all 2-grams of the samples."""
    distinct_3: float
    """The share of different 3-grams among all 3-grams of the samples."""
    repetition: float
    """The share of a sample's 4-grams that came in it before, on average."""
    text_distinct_1: float
    """The share of different tokens among as many tokens of test documents; all figures with `text_` are of these."""
    text_distinct_2: float
    text_distinct_3: float
    text_repetition: float
    sample: str
    """The beginning of the first sample in `samples.json`, with its prompt, on one line."""

    def headline(self) -> dict[str, float]:
        """Return the figures by which reports are compared, by name."""
        figures = {"bits_per_byte": self.bits_per_byte, "perplexity": self.perplexity}
        return {name: shortened(value) for name, value in figures.items()}


def measure(params: TextGenerationFigures, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the model on the test split; return the report.

    Raise QualityError where the gate fails, InputError where a prompt cannot be read or a split holds no documents, and
    ArtifactError where a probability is not finite.
    """
    vocabulary = read_vocabulary(inputs.predictor)
    test, train = read_documents(inputs.test, name="test"), read_documents(inputs.train, name="training")
    samples = write_samples(inputs.model, inputs.predictor, params.samples, threads=WRITING_THREADS)
    started = time.perf_counter()
    read_by_model = read(load(inputs.model), test, vocabulary=vocabulary)
    tracker.log_metrics({"tokens_per_s": int(test.num_tokens.sum()) / (time.perf_counter() - started)}, step=0)
    judged = Judged(
        documents=test,
        log2={
            "byte_ngram": byte_ngram(test, train=train, order=params.order),
            "token_ngram": token_ngram(test, train=train, order=params.order, vocabulary=vocabulary),
            MODEL: read_by_model,
        },
        xz=xz_bits_per_byte(test),
    )
    found = figures_of(judged, params.bootstrap)
    written = tokens_of(samples, load_tokenizer(inputs.predictor / TOKENIZER))
    figures = variety(written) | {
        f"text_{name}": value for name, value in variety(alike(test, list(map(len, written)))).items()
    }
    report = summarise(judged, found, figures, samples, confidence=params.bootstrap.confidence)
    write_documents(outputs.results / "documents.parquet", judged)
    write_json(outputs.results / "samples.json", [asdict(sample) for sample in samples])
    write_comparison(outputs.plots / "comparison.csv", judged, found)
    drawings = drawings_of(judged, found, confidence=params.bootstrap.confidence)
    save_drawings(outputs.plots, drawings)
    faults = faults_of(report, params.gate)
    parts: list[Part] = []
    if params.explain is not None:
        from components.tasks.text_generation.evaluate.explaining import explain  # which loads what exports models

        explained = explain(params.explain, inputs, documents=test, bootstrap=params.bootstrap)
        write_explanations(explained, outputs)
        parts.append(explanations_part(explained))
    write_page(
        outputs.results / PAGE,
        title=inputs.recipe,
        headline=headline_of(judged, found, params),
        faults=faults,
        parts=parts_of(judged, found, figures, samples, drawings, parts, title=inputs.recipe, params=params),
    )
    if faults:
        raise QualityError(
            f"{'; and '.join(faults)}. Train the model longer or a larger one, or move the limit; the page, the plots, "
            f"the samples and the figures of each document are in {outputs.observations}",
            report=asdict(report),
        )
    return report


def summarise(
    judged: Judged, found: Found, variety: dict[str, float], samples: list[Sample], *, confidence: float
) -> Report:
    """Return the report, with rounded figures."""
    ends = ("", "_low", "_high")
    with_ends = {"bits_per_byte": MODEL} | {f"gain_{name}": f"gain_{name}" for name in judged.baselines}
    intervals = {
        f"{name}{end}": rounded(value)
        for name, key in with_ends.items()
        for end, value in zip(ends, found[key], strict=True)
    }
    num_tokens = int(judged.documents.num_tokens.sum())
    return Report(
        num_test=len(judged.documents.texts),
        num_test_bytes=int(judged.documents.num_bytes.sum()),
        num_test_tokens=num_tokens,
        confidence=confidence,
        perplexity=rounded(2 ** (judged.bits[MODEL].sum() / num_tokens)),
        **{f"{name}_bits_per_byte": rounded(found[name][0]) for name in judged.baselines},
        **{name: rounded(value) for name, value in variety.items()},
        **intervals,
        sample=shown(samples[0]),
    )


def shown(sample: Sample) -> str:
    """Return the beginning of a prompt and its sample, on one line."""
    text = " ".join(f"{sample.prompt}{sample.text}".split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def write_documents(path: Path, judged: Judged) -> None:
    """Write a table with row, num_bytes, num_tokens and the bits per byte of each system for each test document."""
    documents = judged.documents
    columns: dict[str, Any] = {
        "row": documents.row,
        "num_bytes": documents.num_bytes,
        "num_tokens": documents.num_tokens,
    }
    for system, bits in judged.bits.items():
        name = "bits_per_byte" if system == MODEL else f"{system}_bits_per_byte"
        columns[name] = np.round(bits / documents.num_bytes, DIGITS)
    pq.write_table(pa.table(columns), path)


def faults_of(report: Report, gate: LanguageGate) -> list[str]:
    """Apply the quality gate: return each figure that misses its limit, in words."""
    interval = f"{report.confidence:.0%} interval"
    faults: list[str] = []
    if gate.max_bits_per_byte is not None and report.bits_per_byte > gate.max_bits_per_byte:
        faults.append(
            f"bits_per_byte {report.bits_per_byte:.4f} ({interval} {report.bits_per_byte_low:.4f} to "
            f"{report.bits_per_byte_high:.4f}) is above evaluate.gate.max_bits_per_byte {gate.max_bits_per_byte:g}"
        )
    for name in gate.beat:
        gain, low, high = (getattr(report, f"gain_{name}{end}") for end in ("", "_low", "_high"))
        if low <= gate.min_gain:
            faults.append(
                f"the gain on {name} is {gain:.4f} bits per byte ({interval} {low:.4f} to {high:.4f}), whose lower end "
                f"is not above evaluate.gate.min_gain {gate.min_gain:g}"
            )
    return faults
