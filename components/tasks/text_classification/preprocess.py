"""preprocess for texts with labels: clean, deduplicate, split, tokenize once.

Near-duplicates are found as in Lee et al. 2022, "Deduplicating training data makes language models better": MinHash,
with each pair confirmed by the texts' own Jaccard similarity. The leakage gate then looks for texts that come again in
another split. Texts without a label are kept for pretraining; they must not come again in a split either.
"""

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from components.params import NearDuplicates, TextClassificationData, TrainedTokenizer
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, read_json, write_json
from components.plumbing.errors import InputError, UnknownTokensError, examples
from components.preprocess.cleaning import Cleaned, clean_column
from components.preprocess.columns import check_groups, class_counts, kept, numbers, read_columns, with_label_ids
from components.preprocess.duplicates import (
    CONFLICTING,
    DUPLICATE,
    FATES,
    LEAKING,
    NEAR_DUPLICATE,
    OUTVOTED,
    Verdicts,
    judge,
    leaders,
    write_removed,
)
from components.preprocess.given import given_splits, judge_given, leak_of_given_split, text_repeats
from components.preprocess.known_tokenizer import KnownTokenizer
from components.preprocess.leakage import check_leakage
from components.preprocess.spelling import KINDS, lacking
from components.preprocess.split import NAMES, divided, leak_of_random_split
from components.preprocess.stage import Inputs, Outputs
from components.preprocess.timings import timed, write_timings
from components.preprocess.tokenizer_training import train_tokenizer
from components.preprocess.tokens import (
    Tokens,
    Vocabulary,
    all_tokens,
    fetch_tokenizer,
    load_vocabulary,
    write_tokenized,
)
from components.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

MAX_HIDDEN_SHARE = 0.02
MAX_CUT_SHARE = 0.2
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


@dataclass(frozen=True)
class Report:
    """The counts of the rows, and the figures of their tokens.

    Rows in = rows out + unlabelled + null + empty + conflicting + outvoted + duplicates + near-duplicates + leaking.
    """

    num_rows_in: int
    num_unlabelled: int
    """The number of rows kept without a label, to pretrain on."""
    num_null: int
    """The number of rows without a text."""
    num_empty: int
    """The number of rows with nothing left of their text after cleaning."""
    num_conflicting: int
    """The number of rows whose text, or one nearly the same, carries another label too."""
    num_conflicting_texts: int
    """The number of different texts, each with its near-duplicates, that carry more than one label."""
    num_outvoted: int
    """The number of rows whose label lost to that of most rows with their text, where conflicts are put to the vote."""
    num_duplicates: int
    num_near_duplicates: int
    num_leaking: int
    """The number of rows left out of training or validation because the given test split, or the given validation
    split, holds their text or one nearly the same; 0 where the splits are drawn."""
    raw_leak_share: float
    """The share of leaked rows in the test split as it is given or, where none is, in that of a random split of the
    rows with a label as they came.

    A row is leaked where its text, or one nearly the same, is in the training split too.
    """
    num_rows_out: int
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    class_rows_min: int
    class_rows_max: int
    num_masked: int
    """The number of texts with a placeholder in them, of all the rows that came in."""
    num_cut: int
    """The number of texts so long that their end is left out before they are compared."""
    unknown_share: float
    """The share of the tokens that the tokenizer does not know, special tokens left out."""
    tokens_p50: float
    """The median number of tokens of a text."""
    tokens_p95: float
    tokens_max: int
    truncated_share: float
    """The share of the texts with more than max_tokens tokens."""


def run(params: TextClassificationData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Clean, deduplicate, split, check for leaks and tokenize; return the report.

    Raise InputError where the rows do not fit the settings, UnknownTokensError where the tokenizer does not, and
    LeakageError where texts of one split come again in another.
    """
    steps: dict[str, float] = {}
    labels: list[str] = read_json(inputs.verdict)["labels"]
    if not isinstance(params.tokenizer, TrainedTokenizer):
        with timed("tokenizer", steps):
            check = partial(load_vocabulary, max_tokens=params.max_tokens)
            fetch_tokenizer(params.tokenizer, inputs, outputs, check=check, tracker=tracker)
    with timed("clean", steps):
        table, cleaned = read_cleaned(inputs.data, params, labels)
        rows, unlabelled, num_null, num_empty = usable(table)
    with timed("deduplicate", steps):
        verdicts, raw_leak_share = judged(rows, params, num_labels=len(labels))
        write_removed(outputs.observations / "removed.parquet", rows, verdicts, columns=["label", "text"])
        rows = kept(rows, verdicts, labels)
        unlabelled = new_texts(unlabelled, rows, params.near_duplicates)
    with timed("split", steps):
        with blaming_masks(cleaned, num_rows=len(table)):
            splits = divided(rows, rows["text"].to_pylist, params.split, labels=labels)
    with timed("leakage_gate", steps):
        parts = splits | ({"unlabelled": unlabelled} if len(unlabelled) else {})
        check_leakage({name: part["text"].combine_chunks() for name, part in parts.items()}, params.near_duplicates)
    if isinstance(params.tokenizer, TrainedTokenizer):
        with timed("tokenizer", steps):
            texts = chain(splits["train"]["text"].to_pylist(), unlabelled["text"].to_pylist())
            train_tokenizer(texts, params.tokenizer, path=outputs.predictor / TOKENIZER)
    with timed("tokenize", steps):
        vocabulary = load_vocabulary(outputs.predictor, max_tokens=params.max_tokens, truncate=params.truncate)
        tokens = write_splits(splits, unlabelled, outputs, vocabulary)
    warn_of_cut(tokens.num_truncated, len(rows), params)
    check_unknown(tokens, params, KnownTokenizer(vocabulary.tokenizer, vocabulary.unknown_id))
    write_predictor(outputs.predictor / PREDICTOR, params, labels, vocabulary)
    write_timings(outputs.observations, steps, num_rows=len(table))
    tracker.log_file(outputs.observations)
    fates = np.bincount(verdicts.fate, minlength=len(FATES)).tolist()
    return Report(
        num_rows_in=len(table),
        num_unlabelled=len(unlabelled),
        num_null=num_null,
        num_empty=num_empty,
        num_conflicting=fates[CONFLICTING],
        num_conflicting_texts=verdicts.num_conflicting_texts,
        num_outvoted=fates[OUTVOTED],
        num_duplicates=fates[DUPLICATE],
        num_near_duplicates=fates[NEAR_DUPLICATE],
        num_leaking=fates[LEAKING],
        raw_leak_share=round(raw_leak_share, 6),
        **class_counts(rows, splits, num_classes=len(labels)),
        num_masked=cleaned.num_masked,
        num_cut=cleaned.num_cut,
        **token_figures(tokens, num_rows=len(rows)),
    )


def read_cleaned(path: Path, params: TextClassificationData, labels: Sequence[str]) -> tuple[pa.Table, Cleaned]:
    """Read the columns that the settings name, with their texts cleaned and the ids of their labels; return them, and
    what the cleaning did."""
    names = {
        "text": "text", "label": "label", "group": params.split.group, "slice": params.slice,
        "split": params.split.column,
    }  # fmt: skip
    data = read_columns(path, names)
    cleaned = clean_column(
        data["text"], unicode=params.unicode, mask=params.mask, max_tokens=params.max_tokens, emoji=params.emoji,
        truncate=params.truncate,
    )  # fmt: skip
    return with_label_ids(data.set_column(data.column_names.index("text"), "text", cleaned.texts), labels), cleaned


def token_figures(tokens: Tokens, *, num_rows: int) -> dict[str, Any]:
    """Return figures for the report, by name: the share of unknown tokens, the lengths of texts, and the share of those
    that are cut."""
    return {
        "unknown_share": round(tokens.unknown_share, 6),
        "tokens_p50": float(np.percentile(tokens.lengths, 50)),
        "tokens_p95": float(np.percentile(tokens.lengths, 95)),
        "tokens_max": int(tokens.lengths.max()),
        "truncated_share": round(tokens.num_truncated / num_rows, 6),
    }


def usable(table: pa.Table) -> tuple[pa.Table, pa.Table, int, int]:
    """Return the rows with text and label, those with a text alone, and the numbers of null and of empty texts.

    Raise InputError where no row with a label is left, or where one has no group.
    """
    whole = table.filter(pc.is_valid(table["text"]))
    filled = whole.filter(pc.not_equal(whole["text"], ""))
    rows = filled.filter(pc.is_valid(filled["label_id"]))
    unlabelled = filled.filter(pc.is_null(filled["label_id"]))
    if not len(rows):
        raise InputError(f"no row of {len(table)} has both a text and a label when the texts are clean")
    check_groups(rows)
    return rows, unlabelled, len(table) - len(whole), len(whole) - len(filled)


@contextmanager
def blaming_masks(cleaned: Cleaned, *, num_rows: int) -> Generator[None]:
    """Say that texts are nothing but placeholders, and name them as the cause where the rows turn out to be too few."""
    if cleaned.num_hidden <= MAX_HIDDEN_SHARE * num_rows:
        yield
        return
    named = ", ".join(f"'{kind}'" for kind in cleaned.hidden)
    told = (
        f"preprocess.mask made {cleaned.num_hidden:,} of {num_rows:,} texts alike, nothing but placeholders of {named}"
    )
    logger.warning("%s", told)
    try:
        yield
    except InputError as error:
        raise InputError(f"{told}; take {named} out of it ({error})") from error


def judged(rows: pa.Table, params: TextClassificationData, *, num_labels: int) -> tuple[Verdicts, float]:
    """Return the fate of each row with a label, and the share of the test rows that leak as the rows came."""
    texts, labels = rows["text"].combine_chunks(), numbers(rows["label_id"])

    def judge_rows(some: NDArray[np.int64]) -> Verdicts:
        return judge(
            texts.take(pa.array(some)), labels[some], params.near_duplicates,
            num_labels=num_labels, conflicts=params.conflicts,
        )  # fmt: skip

    if params.split.column is None:
        verdicts = judge_rows(np.arange(len(rows)))
        return verdicts, leak_of_random_split(verdicts.first, params.split)
    split, repeats = given_splits(rows, params.split), text_repeats(texts, params.near_duplicates)
    verdicts = judge_given(split, labels, repeats=repeats, judge=judge_rows)
    return verdicts, leak_of_given_split(split, verdicts, repeats=repeats)


def new_texts(unlabelled: pa.Table, rows: pa.Table, params: NearDuplicates) -> pa.Table:
    """Return the unlabelled rows whose text is new.

    It is not, nor nearly, the text of a labelled row or of an unlabelled row before.
    """
    if not len(unlabelled):
        return unlabelled
    texts = pa.concat_arrays([part["text"].combine_chunks() for part in (rows, unlabelled)])
    encoded = texts.dictionary_encode()
    codes = np.asarray(encoded.indices, np.int64)
    leader = leaders(encoded.dictionary, params)  # of each different text; those of labelled rows come first
    first = np.full(len(encoded.dictionary), len(texts), np.int64)
    np.minimum.at(first, codes, np.arange(len(texts)))
    is_new = (first[leader[codes]] == np.arange(len(texts)))[len(rows) :]
    if "split" in rows.column_names:  # of held-out texts, which are kept, one that has a leader leads none
        held, others = np.split(np.arange(len(texts)), [len(rows)])
        is_new &= text_repeats(texts, params)(held, others) < 0
    return unlabelled.filter(pa.array(is_new))


def write_splits(
    splits: Mapping[str, pa.Table], unlabelled: pa.Table, outputs: Outputs, vocabulary: Vocabulary
) -> Tokens:
    """Write the rows with their tokens; return the tokens' counts, without those of unlabelled rows."""
    paths = {"train": outputs.train, "validation": outputs.validation, "test": outputs.test}
    written = [write_tokenized(paths[name], splits[name], vocabulary, title=f"tokenize {name}") for name in NAMES]
    write_tokenized(outputs.unlabelled, unlabelled, vocabulary, title="tokenize unlabelled")
    return all_tokens(list(chain.from_iterable(written)))


def warn_of_cut(num_cut: int, num_rows: int, params: TextClassificationData) -> None:
    """Say on the terminal where the model will not see all of many texts."""
    if num_cut > MAX_CUT_SHARE * num_rows:
        part = {"head": "the beginning", "tail": "the end", "head_tail": "half of that at either end"}[params.truncate]
        logger.warning(
            "%.0f%% of the texts have more than %d tokens (preprocess.max_tokens), and %s is all that is read of them; "
            "see preprocess.truncate, or take what matters of a text in ingest.query",
            100 * num_cut / num_rows, params.max_tokens, part,
        )  # fmt: skip


def check_unknown(tokens: Tokens, params: TextClassificationData, known: KnownTokenizer) -> None:
    """Raise UnknownTokensError where more tokens are unknown to the tokenizer than max_unknown_share allows."""
    share = tokens.unknown_share
    if share <= params.max_unknown_share:
        return
    cause, lost = lacking(known, tokens.unknown_texts)
    told = (
        f"the tokenizer does not know {share:.1%} of the tokens (preprocess.max_unknown_share is "
        f"{params.max_unknown_share:.1%}), most of them {KINDS[cause]}: {examples(lost)}"
    )
    report = {"unknown_share": share, "max_unknown_share": params.max_unknown_share, "kind": cause}
    accepting = f"set max_unknown_share to {math.ceil(100 * share + 1) / 100:.2f}"
    if isinstance(params.tokenizer, TrainedTokenizer):
        raise UnknownTokensError(
            f"{told}, which the training split hardly has; raise vocab_size, add rows, or {accepting}", report=report
        )
    if cause == "symbols":
        raise UnknownTokensError(
            f"{told}; the model reads all of them as one: {accepting} where that is enough, have emoji read by their "
            "names (preprocess.emoji: names), or take an encoder that knows them in preprocess.tokenizer and "
            "pretrain.source",
            report=report,
        )
    if cause == "words":
        raise UnknownTokensError(
            f"{told}; take them out in ingest.query, as regexp_replace(text, '\\S{{101,}}', ' ', 'g') does, or "
            f"{accepting}",
            report=report,
        )
    raise UnknownTokensError(
        f"{told}; take an encoder that was trained on this language or script in preprocess.tokenizer and "
        "pretrain.source, or train both on these rows, as 'modelyard new' proposes for such rows and the recipe "
        "review_sentiment_zh in params.yaml does: preprocess.tokenizer {kind: train, algorithm: wordpiece, "
        "vocab_size: 6000, at_most: true, lowercase: false}, objective: masked, pretrain.mode: train",
        report=report,
    )


def write_predictor(path: Path, params: TextClassificationData, labels: Sequence[str], vocabulary: Vocabulary) -> None:
    """Write predictor.json: all that the predictor needs beside the model and the tokenizer."""
    settings = {
        "task": params.task,
        "labels": labels,
        "unicode": params.unicode,
        "mask": params.mask,
        "max_tokens": params.max_tokens,
        "pad_token_id": vocabulary.pad_token_id,
        "vocab_size": vocabulary.tokenizer.get_vocab_size(),
    }
    chosen = {"emoji": params.emoji, "truncate": params.truncate}
    write_json(path, settings | {name: value for name, value in chosen.items() if value not in (None, "head")})
