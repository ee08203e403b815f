"""The changes that DVC finds in a recipe's stages, and which of them only lost outputs that its cache still has."""

import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from components.plumbing.damage import fault_of
from components.plumbing.errors import BusyError
from flows.pipeline.graph import Stage, open_repo, read_graph

LOCK_WAIT_S = 60


def changes_of(root: Path, stages: Sequence[Stage]) -> dict[str, list[Any]]:
    """Return what DVC finds changed, by the stages' addresses, all looked up together: each look reads all of dvc.lock.

    `stages` are all of a recipe's.
    """
    last = [stage.address for stage in stages if not any(stage.name in other.upstream for other in stages)]
    return when_unlocked(lambda: open_repo(root).status(last, with_deps=True), stages[0].recipe)


def is_up_to_date(root: Path, recipe: str, *, until: str) -> bool:
    """Return whether the stages of a recipe as far as `until` have nothing to do, and their artifacts are as they were
    made; False where DVC cannot tell."""
    from dvc.exceptions import DvcException

    with chdir(root):  # DVC keeps paths relative to where it was opened
        stages = read_graph(open_repo(root), recipe)
        try:
            changed = changes_of(root, stages)
        except (DvcException, BusyError):
            return False
    last = next(number for number, stage in enumerate(stages) if stage.name == until)
    return not any(stage.address in changed or fault_of(root, recipe, stage.name) for stage in stages[: last + 1])


def are_gone(changes: Sequence[Any]) -> bool:
    """Return whether a stage lacks nothing but outputs that DVC's cache has: it calls those "deleted"
    and others "not in cache"."""
    only = changes[0] if len(changes) == 1 and isinstance(changes[0], dict) else {}
    return set(only.get("changed outs", {}).values()) == {"deleted"}


def is_in_run_cache(root: Path, address: str) -> bool:
    """Return whether DVC's cache has what a stage makes of its present code, parameters and
    inputs: it ran with them before.

    What it reads must be there.
    """
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    repo = open_repo(root)

    def look() -> None:
        stage = repo.stage.load_one(name=address)  # a copy: the look changes it
        with repo.lock:
            if stage.changed_stage() or not stage.deps_cached():
                stage.save_deps()
                for out in stage.outs:
                    out.hash_info = HashInfo()  # what dvc.lock has is of other inputs
            repo.stage_cache.restore(stage, dry=True)

    try:
        when_unlocked(look, address)
    except DvcException:  # RunCacheNotFoundError among them
        return False
    return True


def to_commit(root: Path) -> list[str]:
    """Return params.yaml and dvc.lock as far as they differ from the last commit; none without git."""
    command = ["git", "status", "--porcelain", "--", "params.yaml", "dvc.lock"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return [line[3:] for line in done.stdout.splitlines()]


def when_unlocked(call: Callable[[], Any], what: str) -> Any:
    """Return the result of a call to DVC, made once no other DVC command holds the paths that it needs. BusyError where
    one holds them for longer than LOCK_WAIT_S."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    give_up_at = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return call()
        except DvcException as error:
            locked = next((cause for cause in chain_of(error) if isinstance(cause, LockError)), None)
            if locked is None:
                raise
            if time.monotonic() > give_up_at:
                busy = BusyError(f"{what}: {' '.join(str(locked).split())}")
                busy.is_transient = True
                raise busy from error
            time.sleep(0.5)


def chain_of(error: BaseException) -> Generator[BaseException]:
    """Yield an error and its causes, from the outermost to the first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
