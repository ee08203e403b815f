"""The baselines of a language model: a compressor, and n-grams of the training split over bytes and over tokens.

Each one tells the whole of a text, its end too, as the model does, so that bits per byte compare whatever the tokens
are.
"""

import lzma

import numpy as np
from numpy.typing import NDArray

from components.tasks.text_generation.evaluate.documents import Documents, Vocabulary
from components.tasks.text_generation.evaluate.kneser_ney import Symbols, log2_probabilities

NUM_BYTES = 256
END_OF_BYTES = NUM_BYTES


def xz_bits_per_byte(documents: Documents) -> float:
    """Return the bits per byte of all documents in one file under `xz -9e`.

    xz has read nothing before, and the header of its file counts, too.
    """
    packed = lzma.compress("\n".join(documents.texts).encode(), preset=9 | lzma.PRESET_EXTREME)
    return 8 * len(packed) / int(documents.num_bytes.sum())


def byte_ngram(documents: Documents, *, train: Documents, order: int) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each byte of each document, and of its end, under n-grams of `train`."""
    judged, known = ([as_bytes(text) for text in part.texts] for part in (documents, train))
    return log2_probabilities(judged, train=known, order=order, num_symbols=NUM_BYTES + 1, end=END_OF_BYTES)


def as_bytes(text: str) -> Symbols:
    """Return a text's bytes, followed by a symbol for its end."""
    return np.append(np.frombuffer(text.encode(), np.uint8).astype(np.int32), np.int32(END_OF_BYTES))


def token_ngram(
    documents: Documents, *, train: Documents, order: int, vocabulary: Vocabulary
) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each token of each document, under n-grams of `train`."""
    return log2_probabilities(
        documents.input_ids,
        train=train.input_ids,
        order=order,
        num_symbols=vocabulary.size,
        end=vocabulary.end_of_text_id,
    )
