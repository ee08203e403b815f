"""Tiny documents, for tests of language models that run real stages in seconds."""

import random

from tests.tiny import WORDS


def tiny_documents(n: int, *, num_sentences: int = 8) -> list[str]:
    """`n` documents of two paragraphs, the same at each call, no two nearly alike.

    Which word follows which is not by chance, so that there is something to learn.
    """
    rng = random.Random(1)
    likely = {word: rng.sample(WORDS, 3) for word in WORDS}
    documents: list[str] = []
    for _ in range(n):
        sentences: list[str] = []
        for _ in range(num_sentences):
            words = [rng.choice(WORDS)]
            for _ in range(rng.randint(4, 8)):
                words.append(rng.choice(likely[words[-1]]))
            sentences.append(f"The {' '.join(words)}.")
        half = num_sentences // 2
        documents.append(" ".join(sentences[:half]) + "\n\n" + " ".join(sentences[half:]))
    return documents
