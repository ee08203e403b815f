"""The parts of the page on a language model."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.evaluate.page import JOINED, champion_part, cut, item, paragraphs, quoted, told
from components.params import TextGenerationFigures
from components.plumbing.pages import Part, table
from components.plumbing.plots import Drawing, figure_of
from components.tasks.text_generation.evaluate.judged import MODEL, Found, Judged
from components.tasks.text_generation.evaluate.plots import NAMES
from components.tasks.text_generation.evaluate.writing import LENGTHS, REPEATED_LENGTH, Sample

MAX_DOCUMENTS = 20
MAX_SAMPLES = 20
MAX_BEGINNING = 36


def headline_of(judged: Judged, found: Found, params: TextGenerationFigures) -> list[str]:
    """Return the sentences that say what was measured, on which documents, beside what, and what the gate asks."""
    gate, documents = params.gate, judged.documents
    limit = "" if gate.max_bits_per_byte is None else f"; the gate asks for at most {gate.max_bits_per_byte:g}"
    others = [name for name in judged.baselines if name not in gate.beat]
    asked, beside = (
        ", ".join(f"{NAMES[name]} {told(found[f'gain_{name}'])}" for name in names) for names in (gate.beat, others)
    )
    beaten = f"Its gains on what it must beat, whose lower ends must be above {gate.min_gain:g}: {asked}."
    lost = f"Its gains on what it need not beat, which are below 0 where it is worse: {beside}."
    return [
        f"On {len(documents.texts):,} test documents of {documents.num_bytes.sum():,} bytes, which the model was not "
        f"trained on, it needs {told(found[MODEL])} bits per byte with a {params.bootstrap.confidence:.0%} "
        f"interval{limit}.",
        *([beaten] if asked else []),
        *([lost] if beside else []),
    ]


def parts_of(
    judged: Judged, found: Found, variety: Mapping[str, float], samples: Sequence[Sample],
    drawings: Mapping[str, Drawing], more: Sequence[Part], *, title: str, params: TextGenerationFigures,
) -> list[Part]:  # fmt: skip
    """Return the page's parts in their order; `more` are those that only some recipes have."""
    return [
        Part("Figures", figures_table(judged, found) + figure_of(drawings["comparison"])),
        Part("What was compared with what", compared(judged, title=title, params=params)),
        Part("What context is worth", figure_of(drawings["position"])),
        Part("Documents", figure_of(drawings["documents"]) + documents_table(judged)),
        *more,
        Part("Samples", samples_body(samples, params) + variety_table(variety)),
    ]


def figures_table(judged: Judged, found: Found) -> str:
    """Return the bits per byte of each system, and the model's gain on it."""
    rows = [
        (NAMES[name], told(found[name]), "" if name == MODEL else told(found[f"gain_{name}"]))
        for name in (MODEL, *judged.baselines)
    ]
    perplexity = 2 ** (judged.bits[MODEL].sum() / judged.documents.num_tokens.sum())
    return table(
        ("", "bits per byte", "the model's gain"), rows, caption="The model beside others, with intervals"
    ) + paragraphs(
        f"The perplexity of a token is {perplexity:.2f}; it compares only with models of the same tokenizer."
    )


def compared(judged: Judged, *, title: str, params: TextGenerationFigures) -> str:
    """Return which documents were judged, which systems, in which way, as HTML."""
    bootstrap = params.bootstrap
    return paragraphs(
        f"All systems told every symbol of the same {len(judged.documents.texts):,} test documents from those before "
        "it, the end of the document too; neither the model nor the n-grams were trained on any of them.",
        f"The n-grams are interpolated modified Kneser-Ney of order {params.order}, over bytes and over the model's "
        "own tokens, of the training documents. xz is the compressor (-9e) on the test documents together, and was "
        "trained on nothing.",
        f"Intervals hold {bootstrap.confidence:.0%}: percentiles of {bootstrap.num_samples:,} bootstrap samples of the "
        "documents, because the tokens of one document are no independent rows. Gains are paired: both systems are "
        "judged on the same drawn documents. xz has one figure for the split, so the interval of the gain on it is the "
        "model's alone.",
    ) + champion_part(title)


def documents_table(judged: Judged) -> str:
    """Return the documents that cost the model the most bits per byte."""
    documents = judged.documents
    per_byte = {system: bits / documents.num_bytes for system, bits in judged.bits.items()}
    order: list[int] = np.argsort(-per_byte[MODEL], kind="stable")[:MAX_DOCUMENTS].tolist()
    systems = [MODEL, *(system for system in per_byte if system != MODEL)]
    rows = [
        (
            f"{documents.row[n]}",
            f"{documents.num_bytes[n]:,}",
            *(f"{per_byte[system][n]:.3f}" for system in systems),
            beginning(documents.texts[n]),
        )
        for n in order
    ]
    caption = f"{len(rows)} of {len(documents.texts)} documents, those that the model tells the worst, in bits per byte"
    return table(("row", "bytes", *(NAMES[system] for system in systems), "begins"), rows, caption=caption)


def beginning(text: str) -> str:
    """Return the first words of a text on one line, which does not break."""
    line = JOINED.join(text[: 2 * MAX_BEGINNING].split())
    return line if len(line) < MAX_BEGINNING else f"{line[: MAX_BEGINNING - 1]}…"


def samples_body(samples: Sequence[Sample], params: TextGenerationFigures) -> str:
    """Return texts that the model wrote, each after its prompt."""
    asked = params.samples
    shown = samples[:MAX_SAMPLES]
    items = "".join(
        item(
            quoted(f"{sample.prompt}{sample.text}"),
            f"after '{cut(sample.prompt)}', seed {sample.seed}, ended by {sample.finish_reason}",
        )
        for sample in shown
    )
    return (
        paragraphs(
            f"{len(shown)} of {len(samples)} texts, drawn as the service draws them: temperature "
            f"{asked.temperature:g}, top_k {asked.top_k}, top_p {asked.top_p:g}, at most {asked.max_tokens} tokens."
        )
        + f'<ol class="quotes">\n{items}</ol>\n'
    )


def variety_table(variety: Mapping[str, float]) -> str:
    """Return how varied the samples are, beside as many tokens of the test documents."""
    names = {f"distinct_{length}": f"different {length}-grams of all" for length in LENGTHS}
    names |= {"repetition": f"{REPEATED_LENGTH}-grams that came before in the text"}
    rows = [(words, f"{variety[name]:.3f}", f"{variety[f'text_{name}']:.3f}") for name, words in names.items()]
    head = ("share of", "samples", "test documents")
    return table(head, rows, caption="How varied the texts are, beside as many tokens of test documents")
