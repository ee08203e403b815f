"""The weights behind the registered champion, to start another training from."""

from pathlib import Path

from components.errors import InputError
from components.tracking import Tracker


def champion_folder(tracker: Tracker, folder: Path) -> Path:
    """The champion's model, brought into `folder`. InputError where no champion is registered yet."""
    found = tracker.champion_weights(folder)
    if found is None:
        raise InputError(
            "pretrain.source is 'champion', but no champion of this recipe is registered yet; run it once with another "
            "source (null trains from scratch), or set the alias 'champion' in the model registry"
        )
    return found
