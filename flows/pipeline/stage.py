"""The one Prefect task: run one stage through DVC, and report what happened."""

import logging
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE

from components.plumbing.artifacts import ERROR, REPORT, Layout, read_json
from components.plumbing.damage import drop_damaged, drop_objects, fault_of, locked_outs
from components.plumbing.errors import GateError, InputError, ModelyardError
from components.plumbing.processes import end, family
from flows.pipeline.changes import chain_of, changes_of, is_in_run_cache, when_unlocked
from flows.pipeline.graph import Stage, open_repo
from flows.pipeline.prefect_pages import showing_progress, tell_figures, tell_gate

logger = logging.getLogger(__name__)

INTERRUPTED = (130, -2, -15)
TRAININGS = ("pretrain", "finetune")
STOP_WAIT_S = 20


@dataclass(frozen=True)
class StageOutcome:
    """The result of one stage."""

    stage: str
    recipe: str
    state: Literal["ran", "cached"]
    seconds: float
    is_restored: bool = False
    """Whether its outputs came from DVC's cache: it ran before with the same code, parameters and inputs."""
    run_id: str | None = None
    """The id of the MLflow run that made its output."""


class StageError(ModelyardError):
    """The error of a stage that stopped; its message, exit code, kind and whether it is transient are those
    of the stage's own error."""

    def __init__(self, message: str, *, stage: str = "", kind: str = "StageError", report: Path | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.report = report
        """The file with the figures that the gate judged, where one failed; else None."""
        self._kind = kind

    @property
    def kind(self) -> str:
        return self._kind


def changed_stages(root: Path, stages: Sequence[Stage]) -> set[str]:
    """Return the addresses of the stages that DVC finds changed, or all where it cannot tell.
    `stages` are all of a recipe's.

    A stage below one that will run may change with it.
    """
    from dvc.exceptions import DvcException

    try:
        return set(changes_of(root, stages))
    except DvcException:
        return {stage.address for stage in stages}  # the stage whose turn it is says what is wrong


def run_stage(root: Path, stage: Stage, *, is_changed: bool, force: bool) -> StageOutcome:
    """Run the stage as its own Prefect task, with the retries and the time limit that dvc.yaml gives it."""
    configured = reproduce.with_options(
        name=stage.name,
        description=stage.desc,
        task_run_name=stage.address,
        retries=stage.retries,
        retry_delay_seconds=stage.retry_delay_s,
        retry_condition_fn=is_worth_retrying,
        timeout_seconds=stage.timeout_s,
    )
    try:
        return configured(root, stage, is_changed=is_changed or force, force=force)
    except TimeoutError as error:
        raise StageError(
            f"{stage.address}: it took longer than {stage.timeout_s:g} s; raise timeout_s under its meta in dvc.yaml",
            stage=stage.name, kind="TimeLimitError",
        ) from error  # fmt: skip


@task(cache_policy=NO_CACHE, persist_result=False)
def reproduce(root: Path, stage: Stage, *, is_changed: bool, force: bool) -> StageOutcome:
    """Let DVC bring one stage up to date: it runs, or its outputs come from DVC's cache, where it ran with the same
    inputs before, or it is found unchanged (at once, where that is known). What it did not make now is read and
    compared with what was recorded when it was made; where it is damaged, it is brought back or made again."""
    started = time.monotonic()
    (Layout(root, stage.recipe, stage.name).observations / ERROR).unlink(missing_ok=True)
    with children_end_with_us():
        is_restored, ran = _up_to_date(root, stage, is_changed=is_changed, force=force)
        if not ran and _took_damage_away(root, stage):
            is_restored, ran = _up_to_date(root, stage, is_changed=True, force=False)
        if not ran and _took_damage_away(root, stage):  # which DVC has brought back as it was
            is_restored, ran = _up_to_date(root, stage, is_changed=True, force=True)
    seconds = time.monotonic() - started
    happened = "ran" if ran else "taken from DVC's cache" if is_restored else "unchanged,"
    logger.info("%-10s %s in %.1f s", stage.name, happened, seconds)
    return StageOutcome(stage.name, stage.recipe, "ran" if ran else "cached", seconds, is_restored)


def _up_to_date(root: Path, stage: Stage, *, is_changed: bool, force: bool) -> tuple[bool, bool]:
    """Bring the stage up to date; return whether its outputs came from DVC's cache, and whether it ran."""
    if is_changed:  # what is damaged in DVC's cache would come from there, and stay there
        drop_objects(open_repo(root).cache.local, locked_outs(root, stage.address))
    is_known = is_changed and not force and is_in_run_cache(root, stage.address)
    if is_changed and not is_known:
        logger.info("%-10s starts: %s", stage.name, stage.desc.removesuffix("."))
    is_reproduced = is_changed and _shown(root, stage, force=force)
    return is_reproduced and is_known, is_reproduced and not is_known


def _took_damage_away(root: Path, stage: Stage) -> bool:
    """Take away what is damaged of the stage's artifact; return whether anything is."""
    fault = fault_of(root, stage.recipe, stage.name)
    if fault:
        logger.warning("%-10s %s: it is damaged, and is taken away", stage.name, fault.replace(f"{root}/", ""))
        drop_damaged(root, stage.recipe, [stage.name])
    return fault is not None


def is_worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether another try may mend a failure: one of a store or registry that did not answer, never
    bad input or a failed gate."""
    try:
        state.result()
    except Exception as error:
        return isinstance(error, StageError) and error.is_transient
    return False


def _shown(root: Path, stage: Stage, *, force: bool) -> bool:
    """Run the stage, and show its progress and figures on Prefect's pages; return whether it ran."""
    try:
        with showing_progress(root, stage.recipe, stage.name):
            ran = _reproduce(root, stage, force=force)
    except StageError as error:
        if error.report:
            tell_gate(root, stage.recipe, stage.name, read_json(error.report), str(error))
        raise
    if ran:
        tell_figures(root, stage.recipe, stage.name)
    return ran


def _reproduce(root: Path, stage: Stage, *, force: bool) -> bool:
    """Run the stage through DVC; return whether it ran. StageError carries its exit code, KeyboardInterrupt
    says that it was stopped."""
    from dvc.exceptions import DvcException
    from dvc.stage.exceptions import StageCmdFailedError

    try:
        return bool(
            when_unlocked(
                lambda: open_repo(root).reproduce(stage.address, single_item=True, force=force), stage.address
            )
        )
    except DvcException as error:
        causes = list(chain_of(error))
        missing = next((cause for cause in causes if isinstance(cause, FileNotFoundError)), None)
        if missing:
            advice = "bring it back, or mend the recipe's source; 'dvc checkout' restores an artifact"
            raise InputError(f"{stage.address} reads {missing.filename}, which is missing; {advice}") from error
        failed = next((cause for cause in causes if isinstance(cause, StageCmdFailedError)), None)
        if failed is None:
            said = " ".join(str(causes[-1]).split())
            raise StageError(f"{stage.address}: {said}", stage=stage.name) from error
        said = stopped(root, stage, failed)
        # A verdict is whole in one line; DVC's traceback would bury it on Prefect's pages.
        is_verdict = isinstance(said, StageError) and said.exit_code == GateError.exit_code
        raise said from None if is_verdict else error


def stopped(root: Path, stage: Stage, failed: Exception) -> BaseException:
    """Return the error to raise for a stage whose process ended with one: with the stage's own words and
    exit code, where it left any."""
    code = exit_code_of(failed)
    if code in INTERRUPTED:
        return KeyboardInterrupt()
    left = Layout(root, stage.recipe, stage.name).observations / ERROR
    unsaid: dict[str, Any] = {"message": words_of_end(code, stage), "exit_code": 1, "is_transient": False}
    said = read_json(left) if left.is_file() else unsaid
    report = Layout(root, stage.recipe, stage.name).observations / REPORT
    is_gate = said["exit_code"] == GateError.exit_code and report.is_file()
    error = StageError(
        f"{stage.address}: {said['message']}", stage=stage.name, kind=said.get("kind", "StageError"),
        report=report if is_gate else None,
    )  # fmt: skip
    error.exit_code, error.is_transient = said["exit_code"], said["is_transient"]
    return error


def words_of_end(code: int, stage: Stage) -> str:
    """Return in words how a process ended that said nothing: by a signal (a negative code, or above 128) or not."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        lower = "set micro_batch_size, lower max_tokens, or " if stage.name in TRAININGS else ""
        return (
            f"its process was killed (signal 9), most likely for memory: {lower}close what else needs memory; "
            f"'modelyard estimate {stage.recipe}' says what the trainings need. The next run carries on where it was"
        )
    if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL):
        return f"its process crashed (signal {number}, {signal.Signals(number).name}), in a library; run it again"
    return f"its process ended with {code}"


def exit_code_of(error: Exception) -> int:
    """Read the exit code from DVC's `failed to run: <command>, exited with <code>`, which it keeps only as text."""
    code = str(error).rsplit("exited with ", 1)[-1]
    return int(code) if code.lstrip("-").isdigit() else 1


@contextmanager
def children_end_with_us() -> Generator[None]:
    """End the stage's process and all that it started, where the block is left by an error or an interrupt."""
    try:
        yield
    except BaseException:
        end([child for child in family(psutil.Process()) if is_stage(child)], timeout_s=STOP_WAIT_S)
        raise


def is_stage(process: psutil.Process) -> bool:
    """Return whether a process is a stage of ours (Prefect's own server is a child, too)."""
    try:
        return "components" in process.cmdline()
    except psutil.Error:
        return False
