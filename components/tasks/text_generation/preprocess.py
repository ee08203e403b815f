"""preprocess for documents without labels: clean, deduplicate, split, tokenize whole.

Near-duplicates are found as for texts with labels (Lee et al. 2022), document by document; the leakage gate then looks
for documents that come again in another split. A document ends with the end-of-text token, which also stands before the
first one. The tokens spell every character, so that bits per byte can be compared between any tokenizers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from components.params import TextGenerationData, TrainedTokenizer
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, write_json
from components.plumbing.errors import InputError, UnknownTokensError, examples
from components.plumbing.progress import progress
from components.preprocess.columns import check_groups, read_columns
from components.preprocess.documents import (
    Encoded,
    Vocabulary,
    clean_document,
    encode,
    read_vocabulary,
    write_documents,
)
from components.preprocess.duplicates import DUPLICATE, FATES, KEPT, NEAR_DUPLICATE, judge, write_removed
from components.preprocess.leakage import check_leakage
from components.preprocess.split import divided, fewest_rows
from components.preprocess.stage import Inputs, Outputs
from components.preprocess.timings import timed, write_timings
from components.preprocess.tokenizer_training import train_tokenizer
from components.preprocess.tokens import fetch_tokenizer
from components.tracking.tracker import Tracker

pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


@dataclass(frozen=True)
class Report:
    """The counts of the documents, and the figures of their tokens.

    Documents in = documents out + null + empty + duplicates + near-duplicates.
    """

    num_rows_in: int
    num_null: int
    num_empty: int
    """The number of documents with nothing left after cleaning."""
    num_duplicates: int
    num_near_duplicates: int
    num_rows_out: int
    num_train: int
    num_validation: int
    num_test: int
    num_train_tokens: int
    num_validation_tokens: int
    num_test_tokens: int
    vocab_size: int
    bytes_per_token: float
    unknown_share: float
    """The share of the tokens that the tokenizer does not know."""
    tokens_p50: float
    """The median number of tokens of a document."""
    tokens_max: int


def run(params: TextGenerationData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Clean, deduplicate, split, check for leaks and tokenize; return the report.

    Raise InputError where the documents or the tokenizer do not fit the settings, and LeakageError where documents of
    one split come again in another.
    """
    steps: dict[str, float] = {}
    check_keeps_case(params)
    with timed("clean", steps):
        data = read_columns(inputs.data, {"text": "text", "group": params.split.group})
        rows, num_null, num_empty = usable(cleaned(data, params))
    with timed("deduplicate", steps):
        alike = np.zeros(len(rows), np.int64)
        verdicts = judge(rows["text"].combine_chunks(), alike, params.near_duplicates, num_labels=1, conflicts="remove")
        write_removed(outputs.observations / "removed.parquet", rows, verdicts, columns=["text"])
        rows = rows.filter(pa.array(verdicts.fate == KEPT))
    with timed("split", steps):
        splits = split_rows(rows, params)
    with timed("leakage_gate", steps):
        check_leakage({name: part["text"].combine_chunks() for name, part in splits.items()}, params.near_duplicates)
    with timed("tokenizer", steps):
        if isinstance(params.tokenizer, TrainedTokenizer):
            train_tokenizer(splits["train"]["text"].to_pylist(), params.tokenizer, path=outputs.predictor / TOKENIZER)
        else:
            fetch_tokenizer(params.tokenizer, inputs, outputs, check=read_vocabulary, tracker=tracker)
        vocabulary = read_vocabulary(outputs.predictor)
    with timed("tokenize", steps):
        encoded = {name: encode(part["text"].to_pylist(), vocabulary) for name, part in splits.items()}
        check_unknown(encoded, params)
        check_context(encoded["train"], params)
        paths = {"train": outputs.train, "validation": outputs.validation, "test": outputs.test}
        for name, path in paths.items():
            write_documents(path, splits[name], encoded[name])
        write_documents(outputs.unlabelled, rows.slice(0, 0), Encoded([], 0, []))
    write_predictor(outputs.predictor / PREDICTOR, params, vocabulary)
    write_timings(outputs.observations, steps, num_rows=len(data))
    tracker.log_file(outputs.observations)

    fates = np.bincount(verdicts.fate, minlength=len(FATES)).tolist()
    lengths = np.array([len(ids) for part in encoded.values() for ids in part.input_ids])
    num_bytes = sum(len(text.encode()) for text in rows["text"].to_pylist())
    return Report(
        num_rows_in=len(data),
        num_null=num_null,
        num_empty=num_empty,
        num_duplicates=fates[DUPLICATE],
        num_near_duplicates=fates[NEAR_DUPLICATE],
        num_rows_out=len(rows),
        num_train=len(splits["train"]),
        num_validation=len(splits["validation"]),
        num_test=len(splits["test"]),
        num_train_tokens=encoded["train"].num_tokens,
        num_validation_tokens=encoded["validation"].num_tokens,
        num_test_tokens=encoded["test"].num_tokens,
        vocab_size=vocabulary.size,
        bytes_per_token=round(num_bytes / int(lengths.sum()), 6),
        unknown_share=round(unknown_share(encoded), 6),
        tokens_p50=float(np.percentile(lengths, 50)),
        tokens_max=int(lengths.max()),
    )


def check_keeps_case(params: TextGenerationData) -> None:
    """Raise InputError where a tokenizer that is to be trained would lose the capitals that the model should write."""
    if isinstance(params.tokenizer, TrainedTokenizer) and params.tokenizer.lowercase:
        raise InputError(
            "preprocess.tokenizer.lowercase is true, but texts are to be written with their capitals; set it to false"
        )


def cleaned(table: pa.Table, params: TextGenerationData) -> pa.Table:
    """Return the rows with clean texts; null stays null."""
    texts: list[str | None] = []
    with progress("clean", total=len(table)) as bar:
        for number, text in enumerate(table["text"].to_pylist(), start=1):
            texts.append(None if text is None else clean_document(text, unicode=params.unicode))
            bar.update(number)
    place = table.column_names.index("text")
    return table.set_column(place, "text", pa.array(texts, pa.large_string()))


def usable(table: pa.Table) -> tuple[pa.Table, int, int]:
    """Return the rows with a text, and the numbers of rows without one and with an empty one.

    Raise InputError where no row is left, or where one has no group.
    """
    whole = table.filter(pc.is_valid(table["text"]))
    filled = whole.filter(pc.not_equal(whole["text"], ""))
    if not len(filled):
        raise InputError(f"no row of {len(table)} has a text when the texts are clean")
    check_groups(filled)
    return filled, len(table) - len(whole), len(whole) - len(filled)


def split_rows(rows: pa.Table, params: TextGenerationData) -> dict[str, pa.Table]:
    """Return the documents of each split, in the order in which they came, all as one class.

    Raise InputError where there are too few for each split to have one.
    """
    needed = fewest_rows(params.split)
    if len(rows) < needed:
        raise InputError(
            f"{len(rows)} documents are left after cleaning, but {needed} are needed for each split to have one "
            f"(validation {params.split.validation}, test {params.split.test}): add documents, or cut these into parts "
            "in ingest.query"
        )
    return divided(rows, rows["text"].to_pylist, params.split, labels=["document"])


def unknown_share(encoded: Mapping[str, Encoded]) -> float:
    return sum(part.num_unknown for part in encoded.values()) / sum(part.num_tokens for part in encoded.values())


def check_unknown(encoded: Mapping[str, Encoded], params: TextGenerationData) -> None:
    """Raise UnknownTokensError where more tokens are unknown to the tokenizer than max_unknown_share allows."""
    share = unknown_share(encoded)
    if share > params.max_unknown_share:
        texts = (text for part in encoded.values() for text in part.unknown_texts)
        raise UnknownTokensError(
            f"the tokenizer does not know {share:.1%} of the tokens (preprocess.max_unknown_share is "
            f"{params.max_unknown_share:.1%}), as in {examples(texts)}; choose a tokenizer of this language or script, "
            "or train one: preprocess.tokenizer.algorithm 'bpe'",
            report={"unknown_share": share, "max_unknown_share": params.max_unknown_share},
        )


def check_context(train: Encoded, params: TextGenerationData) -> None:
    """Raise InputError where the training split does not hold a whole context and the token after it."""
    needed = params.context + 1
    if train.num_tokens < needed:
        raise InputError(
            f"the training split holds {train.num_tokens} tokens, but preprocess.context is {params.context}, which "
            f"takes {needed} (a whole context and the token after it); add documents, or lower it"
        )


def write_predictor(path: Path, params: TextGenerationData, vocabulary: Vocabulary) -> None:
    """Write predictor.json: what the predictor needs to read a prompt as the documents were read."""
    settings = {
        "task": params.task,
        "unicode": params.unicode,
        "context": params.context,
        "end_of_text_id": vocabulary.end_of_text_id,
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad_token_id,
    }
    write_json(path, settings)
