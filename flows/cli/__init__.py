"""The `modelyard` command: what it offers, and how errors end it. What a command does is in the module that it calls.

Nothing heavy is imported before a command needs it, so that `--help` and completion answer at once.
"""

import errno
import gc
import sys
import traceback

import click

from components.environment import forgo_last_collection
from components.errors import ModelyardError
from flows.cli import loop, machine, pipeline, serving
from flows.cli.group import cli, find_project
from flows.keys import keys

__all__ = ["cli", "explained", "find_project", "loop", "machine", "main", "pipeline", "serving"]

INTERRUPTED = 130
# What the machine refuses, and its own words say whole.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# The tools that are joined here make a million objects on import, and Python's defaults look for garbage among them
# hundreds of times: a tenth of a run in which nothing has changed.
GC_THRESHOLD = (100_000, 50, 50)

cli.add_command(keys)


def explained(error: Exception) -> str:
    """An error that is not one of ours: what the machine refused, or else a fault."""
    if isinstance(error, OSError) and error.errno in REFUSED and error.filename:
        return f"{error.filename}: {error.strerror}; mend that and run again ('modelyard doctor' checks every place)"
    said = " ".join(str(error).split())[:300]
    return f"a fault of its own: {type(error).__name__}: {said}; --debug shows where"


def main(argv: list[str] | None = None) -> None:
    """Run the command and end the process: 0 done, 1 failed, 2 bad input, 3 failed gate, 130 interrupted."""
    gc.set_threshold(*GC_THRESHOLD)
    args = sys.argv[1:] if argv is None else argv
    is_debug = "--debug" in args
    try:
        code = cli.main(args, prog_name="modelyard", standalone_mode=False)
    except ModelyardError as error:
        if is_debug:
            traceback.print_exc()
        click.echo(f"modelyard: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("modelyard: interrupted", err=True)
        code = INTERRUPTED
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        click.echo(f"modelyard: {explained(error)}", err=True)
        code = 1
    forgo_last_collection()
    sys.exit(code or 0)
