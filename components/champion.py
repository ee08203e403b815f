"""What lies behind the registered champion: weights to start another training from, and the tokenizer they know."""

from pathlib import Path

from components.artifacts import TOKENIZER
from components.errors import InputError
from components.tracking import Tracker


def champion_folder(tracker: Tracker, folder: Path, *, setting: str) -> Path:
    """The champion's model, brought into `folder`. InputError where no champion is registered yet; `setting` is what
    asks for it."""
    found = tracker.champion_weights(folder)
    if found is None:
        raise InputError(
            f"{setting} is 'champion', but no champion of this recipe is registered yet; run it once with another "
            "source (null trains from scratch), or set the alias 'champion' in the model registry"
        )
    return found


def champion_tokenizer(tracker: Tracker, folder: Path) -> Path:
    """The champion's model with its tokenizer.json, brought into `folder`. InputError where there is none."""
    found = tracker.champion_weights(folder)
    if found is None:
        raise InputError(
            "preprocess.tokenizer is 'champion', but no champion of this recipe is registered yet; run it once with "
            "another tokenizer (kind: train, or a folder), or set the alias 'champion' in the model registry"
        )
    if not (found / TOKENIZER).is_file():
        raise InputError(
            f"preprocess.tokenizer is 'champion', but the champion was registered without {TOKENIZER}; name the source "
            "of the tokenizer that it was trained with, or set the alias 'champion' to a newer version"
        )
    return found
