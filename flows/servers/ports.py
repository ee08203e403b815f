"""Ports of this machine: whether one is free, and who holds it."""

import socket
from contextlib import suppress

import psutil

from components.plumbing.errors import BusyError

HOST = "127.0.0.1"
MLFLOW_PORT = 5000
PREFECT_PORT = 4200
MAX_NAME = 80


def is_free(port: int, *, host: str = HOST) -> bool:
    """Return whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Return the process that listens on a port, in words."""
    for process in psutil.process_iter(["pid", "cmdline", "name"]):
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f"{name_of(process)} (process {process.pid})"
    return "another process, of another user"


def name_of(process: psutil.Process) -> str:
    """Return a process's command without folders, cut to MAX_NAME characters."""
    line = " ".join(word.rsplit("/", 1)[-1] for word in process.cmdline()) or process.name()
    return line if len(line) <= MAX_NAME else f"{line[:MAX_NAME]}…"


def check_free(port: int, option: str) -> None:
    """Raise BusyError where a port is taken; `option` is the one that chooses another."""
    if not is_free(port):
        raise BusyError(f"port {port} is in use by {holder_of(port)}; stop it, or choose another port with {option}")
