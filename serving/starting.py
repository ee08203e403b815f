"""The start of a bundle's service, and what the command `bentoml serve` settles before."""

import shutil
import socket
from pathlib import Path
from typing import Any

import click
import psutil
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.loading import START, is_running, say_why_at_the_end
from serving.predictors.session import DeviceError
from serving.requests.keys import KeysError, check_address
from serving.service import make_service


def start(folder: Path) -> Any:
    """Return the service of a bundle whose files are those that were packaged; BundleError where it cannot be read.

    BentoML comes here in each process, of which one is the command with what it was told.
    """
    context = click.get_current_context(silent=True)
    try:
        if context is not None and context.command.name == "serve":  # by whatever alias
            prepare_to_serve(context)
        return make_service(folder)
    except (DeviceError, KeysError) as error:
        raise SystemExit(str(error)) from error


def prepare_to_serve(context: click.Context) -> None:
    """Raise KeysError where other machines reach the address and there are no keys; else set the folder for
    counters."""
    check_address(context.params["host"] or BentoMLContainer.http.host.get())
    counters = metrics_folder(Path(BentoMLContainer.bentoml_home.get()))
    BentoMLContainer.prometheus_multiproc_dir.set(str(counters))
    say_why_at_the_end(counters)


def metrics_folder(home: Path) -> Path:
    """Return the folder for this server's counters, and delete the folders of servers on this machine that are gone.

    BentoML has one folder for all servers, which each server empties when it starts.
    """
    folders = home / "modelyard_metrics" / socket.gethostname()
    for folder in folders.glob("*-*"):
        if not is_running(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    own = psutil.Process()
    return folders / (START % (own.pid, own.create_time()))
