"""The `modelyard` command: its subcommands, and how an error ends it. The work of each is in the module that it calls.

Nothing heavy is imported before a command needs it, so that `--help` and completion answer at once.
"""

import errno
import gc
import sys
import traceback

import click

from components.plumbing.artifacts import disk_full, is_of_full_disk
from components.plumbing.environment import forgo_last_collection
from components.plumbing.errors import ModelyardError
from components.plumbing.logs import clear_note
from flows.cli import machine, pipeline, serving, upkeep
from flows.cli.group import cli, find_project
from flows.cli.keys import keys
from flows.telling import answer

__all__ = ["cli", "explained", "find_project", "machine", "main", "pipeline", "serving", "upkeep"]

INTERRUPTED = 130
# What the machine refuses, and its own words say whole.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# The tools that are joined here make a million objects on import, and Python's defaults look for garbage among them
# hundreds of times: a tenth of a run in which nothing has changed.
GC_THRESHOLD = (100_000, 50, 50)

cli.add_command(keys)


def explained(error: Exception) -> str:
    """Return the line for an error that is not a ModelyardError: what the machine refused, or else a fault of ours."""
    if isinstance(error, OSError) and error.errno in REFUSED and error.filename:
        return f"{error.filename}: {error.strerror}; mend that and run again ('modelyard doctor' checks every place)"
    if is_of_full_disk(error):
        return str(disk_full(f"({type(error).__name__})"))
    said = " ".join(str(error).split())[:300]
    return f"a fault of its own: {type(error).__name__}: {said}; --debug shows where"


def main(argv: list[str] | None = None) -> None:
    """Run the command and end the process: 0 done, 1 failed, 2 bad input, 3 failed gate, 130 interrupted.

    An error is one line on standard error and, with `--json`, an object on standard output.
    """
    gc.set_threshold(*GC_THRESHOLD)
    args = sys.argv[1:] if argv is None else argv
    code, failed, message = run_command(args)
    if failed is not None and "--debug" in args and not isinstance(failed, click.exceptions.ClickException):
        traceback.print_exception(failed)
    clear_note()
    if isinstance(failed, click.exceptions.ClickException):
        failed.show()
    elif failed is not None:
        click.echo(f"modelyard: {message}", err=True)
    if answer.is_asked_for(args):
        answer.write(answer.error_data(failed, message, code) if failed is not None else None)
    forgo_last_collection()
    sys.exit(code)


def run_command(args: list[str]) -> tuple[int, BaseException | None, str]:
    """Run the command; return the exit code, the error and its one line (None and an empty
    string where it did not fail)."""
    try:
        return cli.main(args, prog_name="modelyard", standalone_mode=False) or 0, None, ""
    except ModelyardError as error:
        return error.exit_code, error, str(error)
    except click.exceptions.ClickException as error:
        return error.exit_code, error, error.format_message()
    except (click.Abort, KeyboardInterrupt) as error:
        return INTERRUPTED, error, "interrupted"
    except Exception as error:
        return 1, error, explained(error)
