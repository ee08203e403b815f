"""The model behind the registered champion: its weights, from which another training starts, and its tokenizer."""

from pathlib import Path

from components.params.recipe import NO_CHAMPION
from components.plumbing.artifacts import TOKENIZER
from components.plumbing.errors import InputError
from components.recipes import load_recipe
from components.tracking.registry import note_weights, noted_weights
from components.tracking.store import Store
from components.tracking.tracker import Tracker

NONE_YET = (
    "no champion of this recipe is registered with its weights yet; run it once with another {thing} and 'champion: "
    + NO_CHAMPION
    + "', or set the alias 'champion' in the model registry"
)


def note_champion(store: Store) -> None:
    """Write down which weights the present champion has, so that DVC finds them changed or not.

    Raise InputError where the recipe starts from a champion, but none is registered with its weights.
    """
    note_weights(store.root, store.registry)
    is_needed = load_recipe(store.root, store.recipe).champion != NO_CHAMPION
    if is_needed and noted_weights(store.root, store.recipe) is None:
        raise InputError(f"{store.recipe} starts from its champion, but {NONE_YET.format(thing='source')}")


def champion_folder(tracker: Tracker, folder: Path, *, setting: str) -> Path:
    """Return the folder of the champion's model, brought into `folder`; `setting` names the setting that asks for it.

    Raise InputError where no champion is registered with its weights yet.
    """
    found = tracker.champion_weights(folder)
    if found is None:
        raise InputError(f"{setting} is 'champion', but {NONE_YET.format(thing='source (null trains from scratch)')}")
    return found


def champion_tokenizer(tracker: Tracker, folder: Path) -> Path:
    """Return the folder of the champion's model, brought into `folder`, which holds the champion's tokenizer.json.

    Raise InputError where no champion is registered with its weights yet, or where it has no tokenizer.json.
    """
    found = tracker.champion_weights(folder)
    if found is None:
        wanted = NONE_YET.format(thing="tokenizer (kind: train, or a folder)")
        raise InputError(f"preprocess.tokenizer is 'champion', but {wanted}")
    if not (found / TOKENIZER).is_file():
        raise InputError(
            f"preprocess.tokenizer is 'champion', but the champion was registered without {TOKENIZER}; name the source "
            "of the tokenizer that it was trained with, or set the alias 'champion' to a newer version"
        )
    return found
