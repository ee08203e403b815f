"""What entry points show of the log: our own lines, and only the warnings of libraries."""

import logging
import sys

OURS = ("components", "flows", "serving")

# DVC's loggers, which show their records themselves.
SELF_SHOWN = ("dvc.", "dvc_data.", "dvc_objects.")


def configure_logging(*, debug: bool = False) -> None:
    """Plain lines on standard error; with `debug`, those of every library too."""
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


def handler(level: int) -> logging.Handler:
    made = logging.StreamHandler(sys.stderr)
    made.setLevel(level)
    made.setFormatter(logging.Formatter("%(message)s"))
    return made
