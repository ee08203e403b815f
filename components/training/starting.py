"""The weights from which a training starts: random ones, or those of another training of the same model.

`source` is `champion` (the model behind the recipe's champion in the model registry) or a folder that a recipe of this
project made. Weights mean nothing with other sizes or other tokens, so both are compared before weights are taken.
"""

import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from components.models.facts import Facts
from components.models.storage import FAMILY, build, load
from components.params import ModelSource
from components.params.families import ModelSettings
from components.plumbing.artifacts import TOKENIZER, sha256_of
from components.plumbing.errors import InputError, SourceError, examples
from components.sources import fetch_folder
from components.sources.pickles import refuse_pickles
from components.tracking.tracker import Tracker


def first_weights(
    settings: ModelSettings, facts: Facts, source: ModelSource | None, *, stage: str, predictor: Path, root: Path,
    work: Path, tracker: Tracker,
) -> nn.Module:  # fmt: skip
    """Return the network before its first step, with random weights or with those of `source`.

    `stage` names the section that `source` belongs to, `root` is the project's folder, and `work` a place for what has
    to be fetched, which is removed again. The random state is the same with and without a source. Raise InputError
    where the source holds no model of this shape, and SourceError where its model read other tokens.
    """
    model = build(settings, facts)
    if source is None:
        return model
    try:
        if source == "champion":
            from components.champion import champion_folder  # here, since it reads params.yaml and the registry

            folder = champion_folder(tracker, work, setting=f"{stage}.source")
        else:
            folder = fetch_folder(source, root=root, folder=work)
            refuse_pickles(folder)
        ours, theirs = alike(model, loaded(folder, predictor, stage=stage))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    check_same_shape(theirs, ours, stage=stage)
    ours.load_state_dict(theirs.state_dict())
    return model


def loaded(folder: Path, predictor: Path, *, stage: str) -> nn.Module:
    """Load another training's model.

    Raise InputError where no recipe of this project made it, and SourceError where it read other tokens.
    """
    if not (folder / FAMILY).is_file():
        raise InputError(f"{stage}.source holds no {FAMILY}; it must be a model that a recipe of this project made")
    if (predictor / TOKENIZER).is_file():
        check_same_tokenizer(folder / TOKENIZER, predictor / TOKENIZER, setting=f"{stage}.source")
    return load(folder)


def alike(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the comparable parts of two models: the whole models, or two encoders without their different heads."""
    if type(theirs) is type(ours) or not (hasattr(ours, "encoder") and hasattr(theirs, "encoder")):
        return ours, theirs
    parts: list[Any] = [ours.encoder, theirs.encoder]
    for encoder in parts:
        encoder.pooler = None  # the first layer of a classifier's head
    return parts[0], parts[1]


def check_same_shape(theirs: nn.Module, ours: nn.Module, *, stage: str) -> None:
    """Raise InputError where another model's weights differ from this recipe's in their names or shapes."""
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    different = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if different:
        name = different[0]
        raise InputError(
            f"{stage}.source has other weights than {stage}.model asks for: {name} is {found.get(name)}, not "
            f"{shapes.get(name)} ({len(different)} differ); let {stage}.model and preprocess be those that it was "
            f"trained with, or set {stage}.source to null"
        )


def check_same_tokenizer(theirs: Path, ours: Path, *, setting: str) -> None:
    """Raise SourceError where the source that `setting` names was trained with another tokenizer than `ours`.

    Sizes tell nothing: a tokenizer that is trained again on other rows has the same number of tokens, but other ones.
    """
    if not theirs.is_file():
        raise SourceError(
            f"{setting} has no {TOKENIZER}, so nothing tells whether its tokens are those of "
            "preprocess.tokenizer; start from a model that has one (a champion registered anew does), or from null"
        )
    if sha256_of(theirs) == sha256_of(ours):
        return
    try:
        vocabulary = Tokenizer.from_file(str(theirs)).get_vocab()
    except Exception as error:  # the library raises nothing narrower
        raise SourceError(f"{TOKENIZER} of {setting} cannot be read: {error}") from error
    known = Tokenizer.from_file(str(ours)).get_vocab()
    if vocabulary == known:
        return
    different = sorted(token for token in vocabulary.keys() | known if vocabulary.get(token) != known.get(token))
    raise SourceError(
        f"the tokenizer of {setting} ({len(vocabulary)} tokens) is not the one that preprocess used "
        f"({len(known)}); they differ in {examples(different)}: let preprocess.tokenizer and {setting} both be "
        "'champion' (after --force preprocess, if the champion is a new one), or name the same folder"
    )
