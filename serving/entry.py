"""The module that BentoML imports: the service of the bundle that holds this file. Nothing else may import it."""

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
"""The most seconds by which two readings of one process's start may differ, since the clock may be set between them."""


def prepare_to_serve(context: click.Context) -> None:
    """Raise KeysError where other machines reach the address and there are no keys; else set the folder for
    counters."""
    check_address(context.params["host"] or BentoMLContainer.http.host.get())
    BentoMLContainer.prometheus_multiproc_dir.set(str(metrics_folder(Path(BentoMLContainer.bentoml_home.get()))))


def metrics_folder(home: Path) -> Path:
    """Return the folder for this server's counters, and delete the folders of servers on this machine that are gone.

    BentoML has one folder for all servers, which each server empties when it starts.
    """
    folders = home / "modelyard_metrics" / socket.gethostname()
    for folder in folders.glob("*-*"):
        if not is_running(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    own = psutil.Process()
    return folders / f"{own.pid}-{own.create_time():.0f}"


def is_running(name: str) -> bool:
    """Return whether the process runs that a folder name, `<process id>-<start in seconds since 1970>`, belongs to.

    The id alone does not tell, since the system uses it again. A name of another form belongs to no process.
    """
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
