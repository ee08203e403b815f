"""Where MLflow's store is, and the files that its runs and models name; both follow a project that was moved or copied.

MLflow keeps the absolute address of each run's files. After a move, runs would write to where the project was, and the
champion's files be looked for there.
"""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

logger = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
MODEL_TRAINING = "?workflowType=machine_learning"
"""The end of the address of a page of MLflow's by which it opens as model training, not for GenAI."""
DATABASE = "mlflow.db"
FILES = "mlartifacts"
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
    "model_version_tags": ("value",),
}
"""The columns of MLflow's tables that hold addresses of files, some of them inside of a text."""


def tracking_uri(root: Path) -> str:
    """Return the address of the user's store, or of a SQLite file in the project."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{root / DATABASE}"


def own_database(root: Path) -> Path | None:
    """Return the project's own database, where that is the store and is there."""
    path = root / DATABASE
    return path if tracking_uri(root) == f"sqlite:///{path}" and path.is_file() else None


def follow_move(root: Path) -> None:
    """Have the store name this folder, where its project was in another one when it was written."""
    root = root.resolve()
    for before in former_places(root):
        if fault_of_place(root, before):
            return
        database = own_database(root)
        assert database is not None
        try:
            with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as store:
                store.execute("BEGIN IMMEDIATE")
                for table, columns in PLACES.items():
                    for column in columns:
                        move = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"
                        old, new = f"{before}/{FILES}/", f"{root.as_uri()}/{FILES}/"
                        store.execute(move, (old, new, old))
                store.execute("COMMIT")
        except sqlite3.Error as error:
            logger.warning("the project was in %s; MLflow's store does not follow it: %s", folder_of(before), error)
            return
        logger.warning("the project was in %s; MLflow's store now names %s", folder_of(before), root)


def former_places(root: Path) -> list[str]:
    """Return the addresses of the other folders that a project's own store takes for the project's; none elsewhere."""
    database = own_database(root)
    if database is None:
        return []
    asked = "SELECT DISTINCT artifact_location FROM experiments WHERE instr(artifact_location, ?)"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as store:
            found = [str(location) for (location,) in store.execute(asked, (f"/{FILES}/",))]
    except sqlite3.Error:  # which whoever opens the store tells
        return []
    places = {location.rpartition(f"/{FILES}/")[0] for location in found if location.startswith("file://")}
    return sorted(places - {root.as_uri()})


def fault_of_place(root: Path, before: str) -> str | None:
    """Return why the store cannot follow from a former place, and what to do; None where it can."""
    old = folder_of(before) / FILES
    if (root / FILES).is_dir() or not old.is_dir():
        return None
    return (
        f"{root / DATABASE} was copied here without the files that it names, which are in {old}; copy them, too "
        f"('cp -r {old} {root}'), or move {DATABASE} away: the next run makes it anew"
    )


def folder_of(uri: str) -> Path:
    """Return the folder of a file's address."""
    return Path(unquote(urlsplit(uri).path))
