"""preprocess: clean the rows, remove those that say the same, split them, tokenize them once.

Reads the rows of ingest and the label order of validate; writes the three splits (row number, clean text, label, token
ids), a plain copy of tokenizer.json, and `predictor.json`, all that the predictor needs to read a text as training did.
Near-duplicates are found as in Lee et al. 2022, "Deduplicating training data makes language models better": MinHash,
with each pair confirmed by the texts' own Jaccard similarity. The leakage gate then looks for texts that come again in
another split.
"""

import logging
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.artifacts import artifact, checkpoints, observations, project, read_json, write_json
from components.errors import InputError, did_you_mean, examples
from components.params import Preprocess
from components.preprocess.cleaning import clean_column
from components.preprocess.duplicates import (
    CONFLICTING,
    DUPLICATE,
    FATES,
    KEPT,
    NEAR_DUPLICATE,
    OUTVOTED,
    Verdicts,
    judge,
)
from components.preprocess.leakage import check_leakage
from components.preprocess.split import NAMES, grouped, stratified
from components.preprocess.tokens import TOKENIZER, Tokens, Vocabulary, all_tokens, load_vocabulary, write_tokenized
from components.sources import fetch_folder
from components.tracking import Tracker

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


@dataclass(frozen=True)
class Inputs:
    data: Path = artifact("ingest/data.parquet")
    verdict: Path = artifact("validate/verdict.json")
    project: Path = project()


@dataclass(frozen=True)
class Outputs:
    train: Path = artifact("train.parquet")
    validation: Path = artifact("validation.parquet")
    test: Path = artifact("test.parquet")
    tokenizer: Path = artifact("tokenizer.json")
    predictor: Path = artifact("predictor.json")
    work: Path = checkpoints()
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    """Rows in = rows out + null + empty + conflicting + outvoted + duplicates + near-duplicates."""

    num_rows_in: int
    num_null: int
    """Rows without a text or a label."""
    num_empty: int
    """Rows with nothing left of their text when it was clean."""
    num_conflicting: int
    """Rows whose text, or one nearly the same, carries another label too."""
    num_conflicting_texts: int
    """Such texts."""
    num_outvoted: int
    """Rows whose label lost to that of most rows with their text; only where conflicts are put to the vote."""
    num_duplicates: int
    num_near_duplicates: int
    num_rows_out: int
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    class_rows_min: int
    class_rows_max: int
    num_masked: int
    """Texts of the rows that came in with a placeholder in them."""
    num_cut: int
    """Texts so long that their end is left out before they are compared."""
    unknown_share: float
    """Of the tokens, special ones left out."""
    tokens_p50: float
    tokens_p95: float
    tokens_max: int
    truncated_share: float
    """Of the texts, those with more than max_tokens tokens."""


def run(params: Preprocess, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Clean, deduplicate, split, check for leaks, tokenize. Raises InputError and LeakageError."""
    steps: dict[str, float] = {}
    labels: list[str] = read_json(inputs.verdict)["labels"]
    with timed("tokenizer", steps):
        vocabulary = fetch_tokenizer(params, inputs, outputs)
    with timed("clean", steps):
        data = read_rows(inputs.data, params.split.group)
        cleaned = clean_column(data["text"], unicode=params.unicode, mask=params.mask, max_tokens=params.max_tokens)
        table = with_label_ids(data.set_column(data.column_names.index("text"), "text", cleaned.texts), labels)
        rows, num_null, num_empty = usable(table)
    with timed("deduplicate", steps):
        verdicts = judge(
            rows["text"].combine_chunks(), numbers(rows["label_id"]), params.near_duplicates,
            num_labels=len(labels), conflicts=params.conflicts,
        )  # fmt: skip
        write_removed(outputs.observations / "removed.parquet", rows, verdicts)
        rows = kept(rows, verdicts, labels)
    with timed("split", steps):
        splits = split_rows(rows, params, labels)
    with timed("leakage_gate", steps):
        check_leakage({name: splits[name]["text"].combine_chunks() for name in NAMES}, params.near_duplicates)
    with timed("tokenize", steps):
        paths = {"train": outputs.train, "validation": outputs.validation, "test": outputs.test}
        written = [write_tokenized(paths[name], splits[name], vocabulary, title=f"tokenize {name}") for name in NAMES]
    tokens = all_tokens(list(chain.from_iterable(written)))
    check_unknown(tokens, params)
    write_predictor(outputs.predictor, params, labels, vocabulary)
    write_json(outputs.observations / "timings.json", {"num_rows": len(data), "seconds": steps})
    tracker.log_file(outputs.observations)

    fates = np.bincount(verdicts.fate, minlength=len(FATES)).tolist()
    class_rows = np.bincount(numbers(rows["label_id"]), minlength=len(labels))
    return Report(
        num_rows_in=len(data),
        num_null=num_null,
        num_empty=num_empty,
        num_conflicting=fates[CONFLICTING],
        num_conflicting_texts=verdicts.num_conflicting_texts,
        num_outvoted=fates[OUTVOTED],
        num_duplicates=fates[DUPLICATE],
        num_near_duplicates=fates[NEAR_DUPLICATE],
        num_rows_out=len(rows),
        num_train=len(splits["train"]),
        num_validation=len(splits["validation"]),
        num_test=len(splits["test"]),
        num_classes=len(labels),
        class_rows_min=int(class_rows.min()),
        class_rows_max=int(class_rows.max()),
        num_masked=cleaned.num_masked,
        num_cut=cleaned.num_cut,
        unknown_share=round(tokens.unknown_share, 6),
        tokens_p50=float(np.percentile(tokens.lengths, 50)),
        tokens_p95=float(np.percentile(tokens.lengths, 95)),
        tokens_max=int(tokens.lengths.max()),
        truncated_share=round(tokens.num_truncated / len(rows), 6),
    )


@contextmanager
def timed(step: str, steps: dict[str, float]) -> Generator[None]:
    """Note how many seconds a step takes."""
    start = time.perf_counter()
    yield
    steps[step] = round(time.perf_counter() - start, 3)
    logger.info("%s: %.1f s", step, steps[step])


def fetch_tokenizer(params: Preprocess, inputs: Inputs, outputs: Outputs) -> Vocabulary:
    """Copy the source's tokenizer.json as it is, and read it."""
    try:
        folder = fetch_folder(params.tokenizer, root=inputs.project, folder=outputs.work / "tokenizer")
        vocabulary = load_vocabulary(folder, max_tokens=params.max_tokens)
        shutil.copyfile(folder / TOKENIZER, outputs.tokenizer)
    finally:
        shutil.rmtree(outputs.work, ignore_errors=True)
    return vocabulary


def read_rows(path: Path, group: str | None) -> pa.Table:
    """The columns `text`, `label`, and `group` where the recipe splits by one, all as text; and `row`, their number."""
    columns = pq.read_schema(path).names
    if group is not None and group not in columns:
        raise InputError(
            f"split.group is '{group}', which ingest.query does not give{did_you_mean(group, columns)}; "
            f"it gives {', '.join(columns)}"
        )
    names = {"text": "text", "label": "label"} | ({"group": group} if group is not None else {})
    data = pq.read_table(path, columns=list(dict.fromkeys(names.values())))
    table = {"row": pa.array(np.arange(len(data)))}
    return pa.table(table | {name: data[column].cast(pa.large_string()) for name, column in names.items()})


def with_label_ids(table: pa.Table, labels: Sequence[str]) -> pa.Table:
    """Add the column `label_id`, the label's place among `labels`; InputError where it has none."""
    ids = pc.index_in(table["label"], pa.array(labels, pa.large_string()))
    foreign = pc.unique(table["label"].filter(pc.and_(pc.is_null(ids), pc.is_valid(table["label"])))).to_pylist()
    if foreign:
        raise InputError(f"labels that the contract does not allow: {examples(foreign)}; it allows {examples(labels)}")
    return table.append_column("label_id", ids)


def usable(table: pa.Table) -> tuple[pa.Table, int, int]:
    """The rows with a text, a label and a group; how many lack one, and how many texts are empty.

    Raises InputError where no row is left, or where a row has no group.
    """
    is_whole = pc.and_(pc.is_valid(table["text"]), pc.is_valid(table["label_id"]))
    whole = table.filter(is_whole)
    rows = whole.filter(pc.not_equal(whole["text"], ""))
    if not len(rows):
        raise InputError(f"no row of {len(table)} has both a text and a label when the texts are clean")
    if "group" in rows.column_names and rows["group"].null_count:
        raise InputError(
            f"{rows['group'].null_count} rows have no group, so they could be in any split; give them one in "
            "ingest.query (coalesce), or set split.group to null"
        )
    return rows, len(table) - len(whole), len(whole) - len(rows)


def numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return column.to_numpy().astype(np.int64)


def write_removed(path: Path, rows: pa.Table, verdicts: Verdicts) -> None:
    """Which rows go, why, and which row each says the same as: for a person to look at."""
    is_removed = verdicts.fate != KEPT
    reasons = pa.array(FATES).take(pa.array(verdicts.fate[is_removed]))
    removed = rows.filter(pa.array(is_removed)).select(["row", "label", "text"])
    first = rows["row"].take(pa.array(verdicts.first[is_removed]))
    pq.write_table(removed.append_column("reason", reasons).append_column("same_as_row", first), path)


def kept(rows: pa.Table, verdicts: Verdicts, labels: Sequence[str]) -> pa.Table:
    """The rows that stay, with the labels that stand."""
    ids = pa.array(verdicts.label, pa.int32())
    names = pa.array(labels, pa.string()).take(ids)
    voted = rows.drop_columns(["label", "label_id"]).append_column("label", names).append_column("label_id", ids)
    return voted.filter(pa.array(verdicts.fate == KEPT))


def split_rows(rows: pa.Table, params: Preprocess, labels: Sequence[str]) -> dict[str, pa.Table]:
    """The rows of each split, in the order in which they came."""
    ids = numbers(rows["label_id"])
    if params.split.group is None:
        split = stratified(rows["text"].to_pylist(), ids, params.split, labels=labels)
    else:
        split = grouped(rows["group"].to_pylist(), ids, params.split, labels=labels)
    columns = rows.select(["row", "text", "label", "label_id"])
    return {name: columns.filter(pa.array(split == number)) for number, name in enumerate(NAMES)}


def check_unknown(tokens: Tokens, params: Preprocess) -> None:
    """InputError where the tokenizer does not know too many of the tokens."""
    if tokens.unknown_share > params.max_unknown_share:
        raise InputError(
            f"the tokenizer does not know {tokens.unknown_share:.1%} of the tokens (preprocess.max_unknown_share is "
            f"{params.max_unknown_share:.1%}), as for {examples(tokens.unknown_texts)}; choose another encoder, one "
            "trained on this language or script, in preprocess.tokenizer and pretrain.source"
        )


def write_predictor(path: Path, params: Preprocess, labels: Sequence[str], vocabulary: Vocabulary) -> None:
    """All that serving/predictors needs beside the model and the tokenizer."""
    settings = {
        "labels": labels,
        "unicode": params.unicode,
        "mask": params.mask,
        "max_tokens": params.max_tokens,
        "pad_token_id": vocabulary.pad_token_id,
    }
    write_json(path, settings)
