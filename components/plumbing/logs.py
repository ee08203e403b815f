"""The part of the log that entry points show: our own lines, and only the warnings of libraries.

On a terminal a line goes above the bar of this process, clears the line that a bar of another one is in, and is broken
between words where it is too long; elsewhere lines are plain.
"""

import logging
import os
import sys
import textwrap
import time

OURS = ("components", "flows", "serving")

# DVC's loggers, which show their records themselves.
SELF_SHOWN = ("dvc.", "dvc_data.", "dvc_objects.")

FALLBACK_WIDTH = 80

CLEARED = "\r\x1b[2K"
"""The characters that take the cursor to the start of its line, and clear the line."""


def configure_logging(*, debug: bool = False) -> None:
    """Log our own lines, and the warnings of libraries, to standard error; with `debug`, all lines of libraries too."""
    # The level is the handler's: a library that sets its logger's own level would get past the root's.
    libraries = handler(logging.INFO if debug else logging.WARNING)
    libraries.addFilter(lambda record: not record.name.startswith(SELF_SHOWN))
    if not debug:  # Prefect logs the traceback of every failed task; the command's last line says the error
        libraries.addFilter(lambda record: not record.name.startswith("prefect."))
    logging.getLogger().addHandler(libraries)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler(logging.INFO))


def be_silent() -> None:
    """Log nothing of our own but errors: another process says it."""
    for name in OURS:
        logging.getLogger(name).setLevel(logging.ERROR)


def handler(level: int) -> logging.Handler:
    made = LineHandler()
    made.setLevel(level)
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


class LineHandler(logging.Handler):
    """A handler that writes each record by `say`."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record))
        except Exception:  # as logging's own handlers do
            self.handleError(record)


class Said:
    """When this process last said something, by the monotonic clock."""

    at = time.monotonic()


def say(text: str) -> None:
    """Write a line, or several, for a person to read, on standard error."""
    Said.at = time.monotonic()
    progress = sys.modules.get("components.plumbing.progress")  # where it was never imported, there is no bar
    bar_console = progress.live_console() if progress else None
    if bar_console is not None:
        bar_console.print(fitted(text), markup=False, highlight=False, soft_wrap=True)
        return
    if clears_lines():
        text = CLEARED + fitted(text)
    sys.stderr.write(text + "\n")  # in one piece: other processes write to the same terminal
    sys.stderr.flush()


def note(text: str) -> None:
    """Show what is being waited for, until the next line takes its place; nothing where
    standard error is no terminal."""
    if clears_lines():
        sys.stderr.write(CLEARED + text)
        sys.stderr.flush()


def clear_note() -> None:
    """Take back a `note`, before something is written in another way."""
    if clears_lines():
        sys.stderr.write(CLEARED)
        sys.stderr.flush()


def clears_lines() -> bool:
    """Return whether standard error is a terminal on which a line can be cleared."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def fitted(text: str) -> str:
    """Return the text with lines wider than the terminal broken between words, and the rest of each moved in."""
    width = width_of_terminal()
    lines: list[str] = []
    for line in text.splitlines():
        if len(line) <= width:
            lines.append(line)
            continue
        lines += textwrap.wrap(
            line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False,
            replace_whitespace=False,
        )  # fmt: skip
    return "\n".join(lines)


def width_of_terminal() -> int:
    """Return the number of columns of the terminal behind standard error, wherever standard output goes."""
    try:
        return int(os.environ.get("COLUMNS", "")) or FALLBACK_WIDTH
    except ValueError:
        pass
    try:
        return os.get_terminal_size(2).columns or FALLBACK_WIDTH
    except OSError:
        return FALLBACK_WIDTH
