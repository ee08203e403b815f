"""The refusal of folders with a pickle in them, which can run code when it is opened."""

import pickletools
import zipfile
from pathlib import Path

from components.plumbing.errors import SourceError

PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
# Opcodes by which a run of valid opcodes is known to be a pickle: its mark, or (in protocols 0 and 1, which have none)
# one that imports or calls. Any short text may happen to be valid without them.
PICKLE_OPCODES = {"PROTO", "GLOBAL", "INST", "OBJ", "REDUCE", "STACK_GLOBAL"}


def refuse_pickles(folder: Path) -> None:
    """Raise SourceError, which names the file, where a file below `folder` is a pickle by its name or its bytes."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in PICKLE_SUFFIXES or is_pickle(path):
            raise SourceError(
                f"{path.relative_to(folder)} is a pickle, which can run code when it is opened; nothing of this folder "
                "is used: choose a release with safetensors alone, or remove the file if model.safetensors is there too"
            )


def is_pickle(path: Path) -> bool:
    """Return whether a file's bytes are a pickle, or a zip archive (as torch writes) that contains one; nothing is
    unpickled."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.lower().endswith(PICKLE_SUFFIXES) for name in archive.namelist())
        except zipfile.BadZipFile:
            return False
    seen: set[str] = set()
    with path.open("rb") as file:
        try:
            seen.update(opcode.name for opcode, _, _ in pickletools.genops(file))
        except Exception:  # whatever the bytes make the parser raise: they are no pickle
            return False
    return bool(seen & PICKLE_OPCODES)
