"""The settings that every process of ours makes before it imports a heavy library: no telemetry,
offline hubs, quiet logs, homes."""

import gc
import json
import os
import shlex
import socket
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect's pages show its log and ours; the terminal shows ours alone.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # A server that went away is told once, by the run that misses it; Prefect's workers fill pages with each event.
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # With growing pauses: a server that is gone for two minutes in the middle of a run is waited for.
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "Agg",
    # torch's profiler, which tells when it begins and ends.
    "KINETO_LOG_LEVEL": "99",
    # Without it, CUDA refuses the deterministic products that training asks for.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Threads that wait sleep, after some microseconds: spinning for longer makes training many times slower where
    # another process wants the processor, and sleeping at once makes it a quarter slower on a quiet machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "1000",
}

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
OWN_ADDRESSES = ("127.0.0.1", "localhost", "::1")
"""The addresses of this machine, on which our servers are; no proxy can reach them."""

PREFECT_URL = "PREFECT_API_URL"
# Any of these, and Prefect's own settings are the user's affair.
PREFECT_CHOICES = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
PREFECT_SERVER = ".modelyard/prefect-server.json"
"""The note in which `modelyard ui` or `up` leaves the address of the Prefect server that it runs."""
MLFLOW_SERVER = ".modelyard/mlflow-server.json"
"""The note in which `modelyard ui` leaves the address of the MLflow server that it runs."""


def forgo_last_collection() -> None:
    """Spare a process that ends the interpreter's last look for garbage: up to a second, for a million objects that
    heavy libraries made on import, of which nothing comes.

    Not where DuckDB is loaded: it takes what is left for a leak, and prints it.
    """
    if "_duckdb" not in sys.modules:
        gc.freeze()


def prepare_environment(root: Path | None = None) -> None:
    """Fill in the settings that the user has not chosen; with a project's folder, the homes of its tools too.

    The interpreter's own folder comes first on PATH, so that `python` in dvc.yaml is this one where no environment is
    activated.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    spare_own_addresses()
    bin_folder, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != bin_folder:
        os.environ["PATH"] = os.pathsep.join([bin_folder, path])
    if root is None:
        return
    if not os.environ.get("BENTOML_HOME"):
        os.environ["BENTOML_HOME"] = str(root / ".modelyard" / "bentoml")
    if has_prefect_profile() or any(os.environ.get(name) for name in PREFECT_CHOICES):
        return
    os.environ["PREFECT_HOME"] = str(root / ".modelyard" / "prefect")
    server = prefect_server(root)
    if server:
        os.environ["PREFECT_API_URL"] = server


def spare_own_addresses() -> None:
    """Keep requests to this machine from the proxy, where the environment names one."""
    if not any(os.environ.get(spelled) for name in PROXIES for spelled in (name, name.lower())):
        return
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    spared = [one.strip() for one in given.split(",") if one.strip()]
    if "*" not in spared:
        spared += [address for address in OWN_ADDRESSES if address not in spared]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(spared)  # libraries read one or the other


def has_prefect_profile() -> bool:
    """Return whether the user has a profile of Prefect's, which may name a server."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return bool(os.environ.get("PREFECT_PROFILE")) or (home / "profiles.toml").exists()


def profile_of_prefect() -> tuple[str, str]:
    """Return the name of the user's profile of Prefect's that is in use, and the address of the server that it names;
    empty where there is none."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    try:
        held = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
        name = os.environ.get("PREFECT_PROFILE") or str(held["active"])
        return name, str(held["profiles"].get(name, {}).get(PREFECT_URL, ""))
    except (OSError, ValueError, KeyError, AttributeError):  # one that Prefect cannot read either, which it says
        return "", ""


def do_without_prefect() -> str:
    """Return what to do where the Prefect server that the user has set does not answer, in words."""
    if os.environ.get(PREFECT_URL):
        return f"start it ('modelyard ui'), or unset {PREFECT_URL}"
    name, url = profile_of_prefect()
    if url:
        command = f"prefect --profile {shlex.quote(name)} config unset -y {PREFECT_URL}"
        return f"start it, or take it out of the profile of Prefect's that names it: {command}"
    return "start it, or take it out of where it is set, as 'prefect config view --show-sources' says"


def prefect_server(root: Path) -> str | None:
    """Return the address of the Prefect server that `modelyard ui` or `up` runs, if it is up; else None."""
    try:
        url = noted_server(root, PREFECT_SERVER)
        address = urlsplit(url)
        socket.create_connection((address.hostname or "", address.port or 0), timeout=0.5).close()
    except (OSError, ValueError, KeyError):
        return None
    return url


def noted_server(root: Path, note: str) -> str:
    """Return the address of a server of ours by its note. OSError, ValueError or KeyError where there is none for the
    project in this folder: the note of the folder that it was copied from is none."""
    noted: dict[str, str] = json.loads((root / note).read_text(encoding="utf-8"))
    if noted.get("folder", str(root.resolve())) != str(root.resolve()):
        raise ValueError(f"{note} is of {noted['folder']}")
    return noted["url"]
