"""What BentoML imports: the service of the bundle that this file lies in. Nothing else may import it."""

import shutil
import socket
from pathlib import Path

import click
import psutil
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.bundle import BundleError
from serving.predictors.session import DeviceError
from serving.requests.keys import KeysError, check_address
from serving.service import make_service

SAME_START_S = 2
"""The most seconds by which the start of one process is told differently, since the clock may be set."""


def prepare_to_serve(context: click.Context) -> None:
    """KeysError where `bentoml serve` is on an address that others reach, and there are no keys."""
    check_address(context.params["host"] or BentoMLContainer.http.host.get())
    BentoMLContainer.prometheus_multiproc_dir.set(str(metrics_folder(Path(BentoMLContainer.bentoml_home.get()))))


def metrics_folder(home: Path) -> Path:
    """Return the folder for the counters of this server; those of servers that are gone from this machine are deleted.

    BentoML has one for all, which each server empties when it starts.
    """
    folders = home / "modelyard_metrics" / socket.gethostname()
    for folder in folders.glob("*-*"):
        if not is_running(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    own = psutil.Process()
    return folders / f"{own.pid}-{own.create_time():.0f}"


def is_running(name: str) -> bool:
    """Return whether the process runs that a folder is named after: by its number, which comes again, and its start."""
    number, _, began = name.partition("-")
    try:
        return abs(psutil.Process(int(number)).create_time() - float(began)) < SAME_START_S
    except (ValueError, psutil.NoSuchProcess):
        return False


try:
    # bentoml imports this in each process, of which one is the command with what it was told
    context = click.get_current_context(silent=True)
    if context is not None and context.command.name == "serve":  # by whatever alias
        prepare_to_serve(context)
    service = make_service(Path(__file__).resolve().parents[1])
except (BundleError, DeviceError, KeysError) as error:
    raise SystemExit(str(error)) from error
