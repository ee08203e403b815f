"""Tiny documents, for tests of language models that run real stages in seconds."""

import random
from pathlib import Path

import pyarrow as pa

from components.params import TrainedTokenizer
from components.plumbing.artifacts import write_json
from components.preprocess.documents import encode, read_vocabulary, write_documents
from components.preprocess.tokenizer_training import train_tokenizer
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


def write_documents_of(folder: Path, documents: list[str], *, context: int, vocab_size: int = 300) -> None:
    """What preprocess makes of documents: the three splits, of which each tenth is one of validation and test."""
    predictor = folder / "predictor"
    predictor.mkdir(parents=True)
    params = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=vocab_size, lowercase=False)
    train_tokenizer(documents, params, path=predictor / "tokenizer.json")
    vocabulary = read_vocabulary(predictor)
    settings = {
        "task": "text_generation", "unicode": "NFC", "context": context, "end_of_text_id": vocabulary.end_of_text_id,
        "vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad_token_id,
    }  # fmt: skip
    write_json(predictor / "predictor.json", settings)
    rows = range(len(documents))
    splits = {
        "validation": [row for row in rows if row % 10 == 0],
        "test": [row for row in rows if row % 10 == 1],
        "train": [row for row in rows if row % 10 > 1],
        "unlabelled": [],
    }
    for name, chosen in splits.items():
        texts = [documents[row] for row in chosen]
        table = pa.table({"row": pa.array(chosen, pa.int64()), "text": pa.array(texts, pa.large_string())})
        write_documents(folder / f"{name}.parquet", table, encode(texts, vocabulary))
