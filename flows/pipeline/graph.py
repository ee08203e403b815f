"""Reads the DAG out of dvc.yaml: the one place where stages and their order are written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.plumbing.errors import InputError, ParamsError, did_you_mean


@dataclass(frozen=True)
class Stage:
    """One stage of one recipe, as dvc.yaml has it."""

    name: str
    recipe: str
    desc: str
    upstream: tuple[str, ...]
    """The names of the stages of this recipe whose outputs it reads."""
    retries: int
    """How often it is tried again after a failure that another try may mend, such as a
    registry that does not answer."""
    retry_delay_s: float
    timeout_s: float | None

    @property
    def address(self) -> str:
        """The stage's name in DVC, `stage@recipe`."""
        return f"{self.name}@{self.recipe}"


NO_GIT = (
    "{root} is in no git repository, which DVC wants: 'git init' makes one, 'dvc config core.no_scm true' does without"
)


def fault_of_lock_file(root: Path) -> str | None:
    """Return what a power cut or a merge left of DVC's files, and what mends it; None where they are whole."""
    lock, notes = root / "dvc.lock", root / ".dvc" / "tmp" / "rwlock"
    back = "'git checkout dvc.lock' brings the committed one back"
    if lock.is_file() and not lock.read_bytes().strip():
        return f"{lock} is empty, as a power cut or a full disk leaves it; {back}"
    if lock.is_file() and b"\n<<<<<<< " in b"\n" + lock.read_bytes():
        return f"{lock} holds the marks of a merge conflict; settle them, or {back}, and run again"
    if notes.is_file() and not notes.read_bytes().strip():
        return f"{notes} is empty, as a power cut or a full disk leaves it; 'rm .dvc/tmp/rwlock' mends that"
    return None


@cache
def open_repo(root: Path) -> Any:
    """Return DVC's view of the project, opened once in a process: DVC reads anew what a stage changed.

    ParamsError where dvc.yaml or params.yaml cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from flows.pipeline.waiting import wait_for_lock

    if fault := fault_of_lock_file(root):
        raise InputError(fault)
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would say again what the flow says
    logging.getLogger("dvc.progress").setLevel(logging.CRITICAL)  # its bars, which stay in the terminal
    try:
        repo = Repo(str(root))
        wait_for_lock(repo)
        repo.index  # noqa: B018  (reads dvc.yaml over params.yaml now, not later)
        return repo
    except DvcException as error:
        said = " ".join(str(error).split())
        if "is not a git repository" in said:
            raise InputError(NO_GIT.format(root=root)) from error
        raise ParamsError(f"dvc.yaml and params.yaml do not fit: {said}") from error


def read_graph(repo: Any, recipe: str) -> list[Stage]:
    """Return the stages of a recipe, each after those that it reads from."""
    from networkx import dfs_postorder_nodes

    graph = repo.index.graph
    suffix = f"@{recipe}"
    nodes = [node for node in dfs_postorder_nodes(graph) if node.addressing.endswith(suffix)]
    return [
        Stage(
            name=node.addressing.removesuffix(suffix),
            recipe=recipe,
            desc=node.desc or "",
            upstream=tuple(
                up.addressing.removesuffix(suffix) for up in graph.successors(node) if up.addressing.endswith(suffix)
            ),
            **_meta(node.meta or {}, node.addressing),
        )
        for node in nodes
    ]


def check_stage(name: str, stages: list[Stage]) -> str:
    """Return `name` if it is a stage; otherwise InputError with the nearest name."""
    names = [stage.name for stage in stages]
    if name not in names:
        raise InputError(f"there is no stage '{name}'{did_you_mean(name, names)}; the stages: {', '.join(names)}")
    return name


def check_reached(force: Sequence[str], until: str | None, stages: list[Stage]) -> None:
    """Raise InputError where a stage is to be forced that comes after the last one to run."""
    names = [stage.name for stage in stages]
    late = [name for name in force if until and names.index(name) > names.index(until)]
    if late:
        raise InputError(f"--force {late[0]}: it comes after --until {until}, so it would not run; drop one of the two")


def _meta(meta: dict[str, Any], address: str) -> dict[str, Any]:
    unknown = meta.keys() - {"retries", "retry_delay_s", "timeout_s"}
    if unknown:
        raise ParamsError(
            f"dvc.yaml, {address}: unknown meta {sorted(unknown)}; known: retries, retry_delay_s, timeout_s"
        )
    return {
        "retries": meta.get("retries", 0),
        "retry_delay_s": meta.get("retry_delay_s", 0),
        "timeout_s": meta.get("timeout_s"),
    }
