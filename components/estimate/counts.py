"""The rows of a recipe's splits and the tokens of their texts: as preprocess left them, or else as the source has them.

Where params.yaml has been edited since, so that what preprocess left has other sizes, the source is looked at.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.estimate.rows import Counts, text_lengths
from components.estimate.source import see_rows, thinned
from components.models.facts import Facts
from components.params import (
    ArrayData,
    FileSource,
    GeneratorSource,
    HubSource,
    ModelSource,
    Recipe,
    RegistrySource,
    TextClassificationData,
    TextGenerationData,
    TrainedTokenizer,
)
from components.plumbing.artifacts import PREDICTOR, REPORT, TOKENIZER, Layout, read_json
from components.sources import fetch_folder

CHARACTERS_A_TOKEN = 4
"""The assumed number of characters per token in English texts with byte-pair tokens, where nothing was counted."""


def counts_of(
    root: Path, name: str, recipe: Recipe, facts: Facts, assumptions: list[str], *, work: Path
) -> tuple[Counts, int]:
    """Return the rows of the splits with the tokens of their texts, and the characters of all texts.

    They are what preprocess left, or else the rows of the source, where it is on this machine. Figures that are not
    known are assumed and noted in `assumptions`. Documents count as windows of one context, which is how they are read.
    """
    folder = Layout(root, name, "preprocess").artifact
    differs = outdated(root, name, recipe)
    if (folder / REPORT).is_file() and not differs:
        return counted(folder, recipe, facts)
    if differs:
        assumptions.append(f"{differs}; so the config is taken instead of what it left")
    split = recipe.preprocess.split
    source, contract = recipe.ingest.source, recipe.validate.contract
    seen = None
    if isinstance(source, GeneratorSource):
        num_rows = source.num_rows
    elif seen := see_rows(root, recipe.ingest, tokenizer=tokenizer_of(root, recipe, work)):
        num_rows = max(1, seen.num_rows)
        assumptions.append(f"{num_rows:,} {seen.counted}; preprocess may leave fewer")
    else:
        num_rows = contract.num_rows.min or 1
        assumptions.append(
            f"{num_rows:,} rows, the fewest that validate.contract.num_rows allows, since the source is not here yet"
        )
    validation, test = split.shares
    train = round(num_rows * (1 - validation - test))
    counts = Counts(
        max(1, train), max(1, round(num_rows * validation)), seen.num_unlabelled if seen else 0, facts.context
    )
    if isinstance(recipe.preprocess, TextGenerationData):
        characters = (contract.text_length.min if contract.text_length else None) or 1
        if seen:
            windows = max(1, seen.num_characters // CHARACTERS_A_TOKEN // facts.context // num_rows)
            assumptions.append(f"{CHARACTERS_A_TOKEN} characters a token")
            return counts_of_windows(counts, windows), seen.num_characters
        windows = max(1, characters // CHARACTERS_A_TOKEN // facts.context)
        assumptions.append(
            f"documents of {windows} context{'s' * (windows > 1)} each, from validate.contract.text_length.min at "
            f"{CHARACTERS_A_TOKEN} characters a token"
        )
        return counts_of_windows(counts, windows), characters * num_rows
    if not facts.context:
        return counts, 0
    if seen and seen.lengths:
        counts = replace(counts, lengths=tuple(min(length, facts.context) for length in seen.lengths))
        return counts, seen.num_characters
    assumptions.append(f"every text is as long as max_tokens allows ({facts.context} tokens); most are shorter")
    return counts, num_rows * facts.context * CHARACTERS_A_TOKEN


def counts_of_windows(counts: Counts, windows: int) -> Counts:
    """Return the counts of documents that have so many windows each."""
    return replace(counts, num_train=1 + counts.num_train * windows, num_validation=counts.num_validation * windows)


def tokenizer_of(root: Path, recipe: Recipe, work: Path) -> Path | None:
    """Return the tokenizer.json that the recipe names, where it is on this machine."""
    named = getattr(recipe.preprocess, "tokenizer", None)
    if named is None or isinstance(named, TrainedTokenizer):
        return None
    folder = here(named, root, work / "asked")
    return folder / TOKENIZER if folder and (folder / TOKENIZER).is_file() else None


def counted(folder: Path, recipe: Recipe, facts: Facts) -> tuple[Counts, int]:
    """Return the rows of the splits with the tokens of their texts, and about how many characters these have, as
    preprocess left them."""
    report: dict[str, Any] = read_json(folder / REPORT)
    if isinstance(recipe.preprocess, TextGenerationData):
        train, validation = (report[f"num_{split}_tokens"] // facts.context for split in ("train", "validation"))
        return Counts(train + 1, validation, 0, facts.context), (train + validation) * CHARACTERS_A_TOKEN
    counts = Counts(report["num_train"], report["num_validation"], int(report.get("num_unlabelled", 0)), facts.context)
    if not facts.context or not (folder / "train.parquet").is_file():
        return counts, 0
    lengths = text_lengths(folder / "train.parquet")
    return replace(counts, lengths=thinned(lengths)), int(lengths.sum()) * CHARACTERS_A_TOKEN


def here(source: ModelSource, root: Path, work: Path) -> Path | None:
    """Return the folder of a source that is already on this machine; None where it would have to be downloaded."""
    if isinstance(source, FileSource):
        return root / source.path if (root / source.path).is_dir() else None
    if isinstance(source, RegistrySource):
        kept = root / ".modelyard" / "downloads" / source.sha256
        return fetch_folder(source, root=root, folder=work) if any(kept.glob("*")) else None
    if isinstance(source, HubSource) and source.repo.startswith((".", "/")):
        return fetch_folder(source, root=root, folder=work)
    return None


def outdated(root: Path, name: str, recipe: Recipe) -> str:
    """Return in words which sizes preprocess left that params.yaml has otherwise now; empty where all
    agrees, or nothing was left."""
    path = Layout(root, name, "preprocess").artifact / "predictor" / PREDICTOR
    if not path.is_file():
        return ""
    left: dict[str, Any] = read_json(path)
    found = [f"{key} {left.get(key)}, not {now}" for key, now in sizes_of(recipe).items() if left.get(key) != now]
    return f"preprocess left {'; '.join(found)} as params.yaml has it now" if found else ""


def sizes_of(recipe: Recipe) -> dict[str, object]:
    """Return the values of predictor.json that the config alone determines, by their keys there."""
    data = recipe.preprocess
    found: dict[str, object] = {"task": recipe.task}
    if isinstance(data, TextClassificationData):
        found["max_tokens"] = data.max_tokens
    elif isinstance(data, TextGenerationData):
        found["context"] = data.context
    elif isinstance(data, ArrayData):
        found["shape"] = list(data.shape)
    if isinstance(data, TextClassificationData | TextGenerationData) and isinstance(data.tokenizer, TrainedTokenizer):
        found["vocab_size"] = data.tokenizer.vocab_size
    return found
