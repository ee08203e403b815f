"""MLflow's store: its address, whether it answers, and one recipe's experiment in it.

Experiment = recipe. One parent run for each pipeline run (pipeline_run.py), one child for each stage that really ran
(tracker.py).
"""

import logging
import os
import platform
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from components.plumbing.errors import StoreError
from components.plumbing.processes import identity, is_alive, uninterrupted
from components.tracking.place import FILES, URI_VARIABLE, fault_of_place, follow_move, former_places, tracking_uri
from components.tracking.registry import Registry

logger = logging.getLogger(__name__)

HALF_MADE = "_alembic_tmp_"
"""How the names of the tables begin that MLflow's migrations remove at their end."""
OPENING_TIMEOUT_S = 300
SERVERS = ("http://", "https://")


def masked(uri: str) -> str:
    """Return an address without its password; of what cannot be read as one, without all that stands before an `@`."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(uri).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        scheme, _, rest = uri.rpartition("://")
        return f"{scheme}{'://' * bool(scheme)}{'***@' * ('@' in rest)}{rest.rpartition('@')[2]}"


def check_store(root: Path) -> None:
    """Raise StoreError where the MLflow store does not answer within a few seconds."""
    uri = tracking_uri(root)
    try:
        if uri.startswith(SERVERS):
            import httpx

            httpx.get(f"{uri.rstrip('/')}/health", timeout=5).raise_for_status()
        elif not uri.startswith("sqlite:"):
            from sqlalchemy import create_engine

            create_engine(uri, connect_args={"connect_timeout": 5}).connect().close()
        else:
            open_client(uri)
    except (*errors_of_stores(), *errors_of_addresses(), OSError) as error:
        reason = str(error).splitlines()[0].replace(uri, masked(uri))
        if HALF_MADE in str(error):
            raise lasting(
                f"the MLflow store {masked(uri)} was left half made by a process that was killed; bring it back "
                "from a copy, or, where nothing ran here yet, move the file away: the next run makes it anew"
            ) from error
        told = f"({type(error).__name__}: {reason})"
        if isinstance(error, ImportError):
            raise lasting(
                f"the MLflow store {masked(uri)} cannot be used {told}; install what its database needs, or mend or "
                f"unset {URI_VARIABLE}"
            ) from error
        if isinstance(error, errors_of_addresses()):
            raise lasting(
                f"the MLflow store {masked(uri)} is no address {told}; mend or unset {URI_VARIABLE}"
            ) from error
        raise StoreError(
            f"the MLflow store {masked(uri)} cannot be reached {told}; start it, or mend or unset {URI_VARIABLE}"
        ) from error
    for before in former_places(root.resolve()):
        if fault := fault_of_place(root.resolve(), before):
            raise lasting(fault)


def lasting(message: str) -> StoreError:
    """Return an error of the store that another try would not mend."""
    error = StoreError(message)
    error.is_transient = False
    return error


def errors_of_stores() -> tuple[type[Exception], ...]:
    """Return the kinds of errors by which a store of any kind says that it cannot be used."""
    import httpx
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return httpx.HTTPError, httpx.InvalidURL, MlflowException, SQLAlchemyError


def errors_of_addresses() -> tuple[type[Exception], ...]:
    """Return the kinds of errors that say that an address names no store, or one whose driver is not installed."""
    import httpx
    from sqlalchemy.exc import ArgumentError

    return httpx.InvalidURL, httpx.UnsupportedProtocol, ArgumentError, ImportError


@contextmanager
def store_errors(root: Path) -> Generator[None]:
    """Raise StoreError in place of an error of MLflow's in the block, where the store does not answer."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            check_store(root)
        raise


class Store:
    """One recipe's experiment in MLflow."""

    def __init__(self, root: Path, recipe: str) -> None:
        """Open the store; StoreError names it where it cannot be reached."""
        check_store(root)
        follow_move(root)
        self.root, self.recipe = root.resolve(), recipe
        self.client = open_client(tracking_uri(root))
        self.experiment_id = self._experiment()

    @property
    def registry(self) -> Registry:
        """The versions of the recipe in the model registry."""
        return Registry(self.client, self.recipe)

    def run_of(self, digest: str | None) -> str | None:
        """Return the id of the newest finished run that made the output with this digest; None without one."""
        found = (
            self.search(f"tags.`modelyard.digest` = '{digest}' AND attributes.status = 'FINISHED'") if digest else []
        )
        return found[0].info.run_id if found else None

    def search(self, filter_string: str, *, max_results: int = 1000) -> list[Any]:
        """Return the runs of this recipe that a filter selects, the newest first."""
        order = ["attributes.start_time DESC"]
        return list(
            self.client.search_runs([self.experiment_id], filter_string, max_results=max_results, order_by=order)
        )

    def stale(self) -> list[Any]:
        """Return the runs of this machine that are RUNNING in MLflow though their process is gone."""
        host = platform.node()
        return [
            run
            for run in self.search("attributes.status = 'RUNNING'")
            if run.data.tags.get("modelyard.host") == host and not is_alive(run.data.tags.get("modelyard.process", ""))
        ]

    def kill_stale(self) -> None:
        """Mark the runs that a SIGKILL or a power cut left behind as KILLED."""
        for run in self.stale():
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.recipe)
        if found:
            if found.lifecycle_stage == "deleted":  # in MLflow's pages, where its name stays taken
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        has_server = tracking_uri(self.root).startswith(SERVERS)  # which then has a place of its own
        location = None if has_server else (self.root / FILES / self.recipe).as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}  # its pages then open on runs, with their charts
        try:
            return self.client.create_experiment(self.recipe, artifact_location=location, tags=tags)
        except MlflowException:
            found = self.client.get_experiment_by_name(self.recipe)
            if found is None:
                raise
            return found.experiment_id  # two first runs at once: the other one made it


def open_registry(root: Path, recipe: str) -> Registry:
    """Open a recipe's versions in the model registry; StoreError names the store where it cannot be reached."""
    check_store(root)
    follow_move(root)
    return Registry(open_client(tracking_uri(root)), recipe)


def stale_runs(root: Path) -> list[dict[str, str]]:
    """Return every run, of all recipes, that is RUNNING in MLflow though its process is gone:
    its recipe, stage and id."""
    check_store(root)
    found: list[dict[str, str]] = []
    for experiment in open_client(tracking_uri(root)).search_experiments():
        if experiment.name == "Default":
            continue
        for run in Store(root, experiment.name).stale():
            found.append(
                {"recipe": experiment.name, "stage": run.data.tags["modelyard.stage"], "run_id": run.info.run_id}
            )
    return found


def git_commit(root: Path) -> str | None:
    """Return the commit that is checked out, with `+` where files differ from it; None outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def import_mlflow(root: Path) -> None:
    """Import what opening a project's store needs, so that a thread that opens it imports next to nothing."""
    kinds = () if tracking_uri(root).startswith(SERVERS) else ("model_registry", "tracking")
    for name in ("mlflow", *(f"mlflow.store.{kind}.sqlalchemy_store" for kind in kinds)):
        import_module(name)


def open_client(uri: str) -> Any:
    # MLflow retries a dead server for minutes by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It writes a traceback of what it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with one_at_a_time(uri):
        client = MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client if uri.startswith(SERVERS) else WholeCalls(client)


@contextmanager
def one_at_a_time(uri: str) -> Generator[None]:
    """Let one process at a time open a database that is a file: the first makes its tables, and two at once would leave
    them half made."""
    from sqlalchemy.engine import make_url

    path = make_url(uri).database if uri.startswith("sqlite:") else None
    if not path or path == ":memory:":
        yield
        return
    from filelock import FileLock

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=OPENING_TIMEOUT_S):
        yield


class WholeCalls:
    """A wrapper of MLflow's client on a database, in which an interrupt waits for the end of a call.

    An interrupt in the middle of a call would leave the transaction open, and the database locked for all
    that is written afterwards.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if not callable(call):
            return call

        @wraps(call)
        def whole(*args: Any, **kwargs: Any) -> Any:
            with uninterrupted():
                return call(*args, **kwargs)

        return whole


def process_tags(root: Path) -> dict[str, str]:
    import getpass

    tags = {"modelyard.process": identity(), "modelyard.host": platform.node()}
    commit = git_commit(root)
    if commit:
        tags["mlflow.source.git.commit"] = commit
    with suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    return tags
