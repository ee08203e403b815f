"""doctor: looks over this machine and project, and says how to mend what is wrong. Changes nothing."""

import importlib.metadata
import importlib.util
import ipaddress
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from components.plumbing.environment import QUIET, do_without_prefect, profile_of_prefect
from components.plumbing.errors import ModelyardError, examples
from components.plumbing.locks import held, read_holder
from components.recipes import PARAMS, load_recipe, load_yaml, stages
from flows.operate.keys import ending_keys
from flows.pipeline.graph import NO_GIT, fault_of_lock_file
from flows.pipeline.notes import RWLOCK, dead_holders, stale_flow_runs
from flows.servers.ports import holder_of, is_free, name_of
from serving.requests.keys import VARIABLE as KEYS
from serving.requests.keys import is_loopback

LOCK = "requirements.lock"
LOCK_MENDED = "delete .venv and run 'make run', or: pip install -r requirements.lock"
MIN_FREE_BYTES = 5 * 10**9
PORTS = {"MLflow": (5000, "modelyard ui --mlflow-port"), "Prefect": (4200, "modelyard ui --prefect-port"),
         "service": (3000, "modelyard serve RECIPE --port")}  # fmt: skip
EXTRAS = {"s3": ("s3", "dvc_s3"), "gs": ("gcs", "dvc_gs"), "azure": ("azure", "dvc_azure"), "ssh": ("ssh", "dvc_ssh")}
"""By the scheme of a remote's address: the extra of pyproject.toml that it needs, and a
module that this extra brings."""
SERVERS = ("mlflow", "prefect", "bentoml")
EXPOSED_MENDED = (
    "bind them to 127.0.0.1; or turn their own authentication on: PREFECT_SERVER_API_AUTH_STRING, 'mlflow server "
    "--app-name basic-auth', 'modelyard keys add'"
)


@dataclass(frozen=True)
class Check:
    """The result of one check of the machine or the project."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""
    """The advice on what to do; empty where all is well."""


def examine(root: Path) -> list[Check]:
    """Make every check, in the order in which their faults are best mended. None of them raises."""
    checks: list[Check] = []
    for look in LOOKS:
        try:
            checks += look(root)
        except ModelyardError as error:
            checks.append(Check(named(look), "fail", str(error), "as it says"))
        except Exception as error:
            checks.append(Check(named(look), "fail", f"{type(error).__name__}: {error}", "this check itself failed"))
    return checks


def named(look: Callable[[Path], list[Check]]) -> str:
    return look.__name__.removeprefix("look_at_").replace("_", " ")


def look_at_python(root: Path) -> list[Check]:
    version = sys.version.split()[0]
    wanted = (root / ".venv").resolve()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        how = "install Python 3.11 (3.12 and 3.13 run it, too), delete .venv and run 'make run'"
        return [Check("python", "fail", f"Python {version}", how)]
    if sys.prefix == sys.base_prefix:
        return [Check("python", "warn", f"Python {version}, not in an environment", f"use the one in {wanted}")]
    return [Check("python", "ok", f"Python {version} in {sys.prefix}")]


def look_at_versions(root: Path) -> list[Check]:
    """Compare the installed packages with requirements.lock."""
    lock = root / LOCK
    if not lock.is_file():
        return [Check("versions", "warn", f"{LOCK} is missing", "bring it back with git, or make it with 'make lock'")]
    lines = [line.strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    locked = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    missing: list[str] = []
    other: list[str] = []
    for name, version in locked.items():
        try:
            installed = importlib.metadata.version(name).split("+")[0]  # torch says which CUDA it is for: 2.13.0+cpu
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if installed != version:
            other.append(f"{name} {installed} (locked: {version})")
    if missing or other:
        found = [f"not installed: {examples(missing)}"] if missing else []
        found += [f"another version: {examples(other)}"] if other else []
        return [Check("versions", "fail", "; ".join(found), LOCK_MENDED)]
    return [Check("versions", "ok", f"all {len(locked)} packages are those of {LOCK}")]


def look_at_tools(root: Path) -> list[Check]:
    if shutil.which("git") is None:
        return [Check("tools", "warn", "git is not installed", "install it: runs then know the commit they came from")]
    if not (root / ".dvc").is_dir():
        return [Check("tools", "fail", "the project has no .dvc folder", "run 'dvc init' in the project's folder")]
    if not any((folder / ".git").exists() for folder in (root, *root.parents)) and not is_without_git(root):
        found, _, mend = NO_GIT.format(root=root).partition(": ")
        return [Check("tools", "fail", found, mend)]
    if fault := fault_of_lock_file(root):
        found, _, mend = fault.partition("; ")
        return [Check("tools", "fail", found, mend)]
    return [Check("tools", "ok", "git and dvc are set up")]


def is_without_git(root: Path) -> bool:
    """Return whether DVC was told to do without git."""
    from dvc.config import Config

    return bool(Config(str(root / ".dvc")).get("core", {}).get("no_scm"))


def look_at_telemetry(root: Path) -> list[Check]:
    del root
    names = [name for name in QUIET if any(word in name for word in ("TRACK", "ANALYTICS", "TELEMETRY"))]
    sending = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name, QUIET[name]) != QUIET[name]]
    if sending:
        return [Check("telemetry", "warn", f"your environment turns it on: {', '.join(sending)}", "unset these")]
    return [Check("telemetry", "ok", "off in every tool")]


def look_at_disk(root: Path) -> list[Check]:
    free = shutil.disk_usage(root).free
    if free < MIN_FREE_BYTES:
        mend = "free some space; 'dvc gc --workspace' removes versions that nothing here uses"
        return [Check("disk", "warn", f"{free / 1e9:.1f} GB free, less than {MIN_FREE_BYTES / 1e9:.0f} GB", mend)]
    return [Check("disk", "ok", f"{free / 1e9:.0f} GB free")]


def look_at_ports(root: Path) -> list[Check]:
    del root
    checks: list[Check] = []
    for name, (port, option) in PORTS.items():
        if is_free(port):
            checks.append(Check(f"port {port}", "ok", f"free for {name}"))
        else:
            mend = f"fine if it is yours; or choose another port with '{option}'"
            checks.append(Check(f"port {port}", "warn", f"{name}'s port is held by {holder_of(port)}", mend))
    return checks


def look_at_exposed_servers(root: Path) -> list[Check]:
    """Look for servers of ours that other machines can reach without authentication: those that run, and those that
    the settings would start."""
    del root
    exposed: list[str] = [f"{name}={host}" for name, host, has_door in configured_hosts() if not has_door]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if not any(server in word for word in process.cmdline() for server in SERVERS) or asks_who(process):
                continue
            for connection in process.net_connections(kind="inet"):
                address = ipaddress.ip_address(connection.laddr.ip) if connection.laddr else None
                if connection.status == psutil.CONN_LISTEN and address is not None and not address.is_loopback:
                    exposed.append(f"{name_of(process)} (process {process.pid}) on {address}:{connection.laddr.port}")
    if exposed:
        found = (
            f"reached from other machines, and asks nobody who they are: {examples(sorted(set(exposed)), width=120)}"
        )
        return [Check("exposed servers", "fail", found, EXPOSED_MENDED)]
    return [Check("exposed servers", "ok", "no server of ours listens beyond this machine without asking who is there")]


def configured_hosts() -> Generator[tuple[str, str, bool]]:
    """Yield each setting by which Prefect's or MLflow's server would listen beyond this machine: its name, the host,
    and whether the server would ask for authentication."""
    hosts = {"PREFECT_SERVER_API_HOST": "PREFECT_SERVER_API_AUTH_STRING", "MLFLOW_HOST": ""}
    for name, door in hosts.items():
        host = os.environ.get(name, "")
        if host and not is_loopback(host):
            yield name, host, bool(door and os.environ.get(door))


def asks_who(process: psutil.Process) -> bool:
    """Return whether a server of ours has its own authentication on."""
    line, variables = process.cmdline(), process.environ()
    if any("prefect" in word for word in line):
        return bool(variables.get("PREFECT_SERVER_API_AUTH_STRING"))
    if any("mlflow" in word for word in line):
        return "basic-auth" in line or "--app-name=basic-auth" in line
    return bool(variables.get(KEYS))


def look_at_folders(root: Path) -> list[Check]:
    """Check that the folders that we write to can be written."""
    home = os.environ.get("PREFECT_HOME") or str(Path.home() / ".prefect")
    folders = {"project": root, "prefect home": Path(home), "dvc cache": root / ".dvc" / "cache"}
    checks: list[Check] = []
    for name, folder in folders.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                checks.append(Check(name, "ok", f"{folder} can be written"))
        except OSError as error:
            checks.append(Check(name, "fail", f"{there}: {error.strerror}", "let your user write there"))
    return checks


def look_at_remotes(root: Path) -> list[Check]:
    """Check that the packages that DVC's remotes need are installed."""
    from dvc.config import Config

    remotes: dict[str, Any] = Config(str(root / ".dvc"))["remote"]
    checks: list[Check] = []
    for name, remote in remotes.items():
        scheme, separator, _ = remote["url"].partition("://")
        extra, module = EXTRAS.get(scheme, ("", "")) if separator else ("", "")
        if extra and importlib.util.find_spec(module) is None:
            mend = f"pip install -c {LOCK} -e '.[{extra}]'"
            checks.append(Check("remotes", "fail", f"'{name}' is {remote['url']}, and {module} is not installed", mend))
    found = f"DVC can reach what it needs for {examples(sorted(remotes))}" if remotes else "DVC has none"
    return checks or [Check("remotes", "ok", found)]


def look_at_mlflow(root: Path) -> list[Check]:
    from components.tracking.store import check_store, masked, tracking_uri

    if not has_store(root):
        return [Check("mlflow", "ok", "the first run makes the store")]
    check_store(root)
    return [Check("mlflow", "ok", f"{masked(tracking_uri(root))} answers")]


def look_at_champions(root: Path) -> list[Check]:
    """Check that the registry still has the champions that the ledger names."""
    from components.promotion.champions import bring_back, lost_champion, register_one
    from components.promotion.ledger import entries
    from components.tracking.store import open_registry

    checks: list[Check] = []
    recipes = load_yaml(root / PARAMS)["recipes"]
    for recipe in sorted({entry["recipe"] for entry in entries(root)} & recipes.keys()):
        registry = open_registry(root, recipe) if has_store(root) else None
        if lost := lost_champion(root, recipe, registry):
            checks.append(Check("champions", "fail", lost, f"{bring_back(root)}, or {register_one(root, recipe)}"))
    return checks or [Check("champions", "ok", "the model registry has every champion that the ledger names")]


def has_store(root: Path) -> bool:
    """Return whether there is a store to ask: opening a SQLite file that is not there would make it."""
    from components.tracking.store import tracking_uri

    uri = tracking_uri(root)
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def look_at_prefect(root: Path) -> list[Check]:
    del root
    import httpx

    url = os.environ.get("PREFECT_API_URL") or profile_of_prefect()[1]
    if not url:
        return [Check("prefect", "ok", "no server is up, so each run starts its own; 'modelyard ui' keeps one")]
    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return [Check("prefect", "fail", f"{url} does not answer ({error})", do_without_prefect())]
    return [Check("prefect", "ok", f"{url} answers")]


def look_at_schedules(root: Path) -> list[Check]:
    """Check that each schedule has a coming run, where a worker or a pool was ever given them."""
    import httpx

    from components.plumbing.locks import held
    from flows.upkeep.due import coming_runs
    from flows.upkeep.planned import readable

    wanted = readable(root)
    if not wanted:
        return [Check("schedules", "ok", f"no recipe of {PARAMS} has one")]
    if "worker.process" not in held(root):
        told = "nothing runs by the clock until 'modelyard up' (or 'modelyard worker', or a pool) is there"
        return [Check("schedules", "ok", f"{len(wanted)} in {PARAMS}; no worker runs here, so {told}")]
    try:
        coming = coming_runs(root)
    except httpx.HTTPError as error:
        found = f"Prefect's server does not answer ({error}), so nothing runs by the clock"
        return [Check("schedules", "fail", found, "'modelyard up' starts it")]
    faulty = [Check("schedules", "fail", str(one), "as it says") for one in coming if one.fault]
    return faulty or [Check("schedules", "ok", f"next: {examples(map(str, coming), width=80)}")]


def look_at_params(root: Path) -> list[Check]:
    """Check every recipe, and report all of its faults."""
    names = list(load_yaml(root / PARAMS)["recipes"])
    checks: list[Check] = []
    for name in names:
        try:
            load_recipe(root, name)
        except ModelyardError as error:
            mend = "mend these keys; components/params/ says what each means"
            checks.append(Check(PARAMS, "fail", str(error), mend))
    return checks or [Check(PARAMS, "ok", f"{len(names)} recipe{'s' if len(names) > 1 else ''}, all valid")]


def look_at_dag(root: Path) -> list[Check]:
    """Check that dvc.yaml and the sections of a recipe name the same stages."""
    there, wanted = list(load_stages(root)), stages()
    if set(there) != set(wanted):
        odd = sorted(set(there) ^ set(wanted))
        found = f"not in both dvc.yaml and the recipes' sections: {examples(odd)}"
        return [Check("dvc.yaml", "fail", found, "add what is missing, or take it out of the other")]
    return [Check("dvc.yaml", "ok", f"{len(there)} stages, as in the recipes")]


def load_stages(root: Path) -> dict[str, object]:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(root / "dvc.yaml")["stages"]


def look_at_stale_runs(root: Path) -> list[Check]:
    from components.tracking.store import stale_runs

    stale = stale_runs(root) if has_store(root) else []
    if of_prefect := stale_flow_runs(root):
        found = f"{len(of_prefect)} are open in Prefect, but their process is gone: {examples(of_prefect)}"
        return [Check("stale runs", "warn", found, "the next 'modelyard run', of any recipe, marks them as crashed")]
    if stale:
        shown = examples(f"{run['stage']}@{run['recipe']} {run['run_id'][:8]}" for run in stale)
        found = f"{len(stale)} say RUNNING in MLflow, but their process is gone: {shown}"
        return [Check("stale runs", "warn", found, "the next run of the recipe marks them as killed")]
    return [Check("stale runs", "ok", "none")]


def look_at_locks(root: Path) -> list[Check]:
    """Report which recipes are in use, and the notes that killed processes left behind."""
    holders = held(root)
    shown = "; ".join(f"{name}: {holder.doing} (process {holder.pid})" for name, holder in holders.items())
    checks = [Check("locks", "ok", f"held now: {shown}" if shown else "no recipe is in use")]
    notes = sorted((root / ".modelyard" / "locks").glob("*.json"))
    dead = {pid for note in notes if note.stem not in holders and (pid := read_holder(note).pid)}
    left = sorted({*dead, *dead_holders(root / RWLOCK)})
    if left:
        found = f"notes of processes that are gone: {examples(left)}"
        mend = "the next 'modelyard run', of any recipe, clears them"
        checks.append(Check("stale locks", "warn", found, mend))
    return checks


def look_at_keys(root: Path) -> list[Check]:
    """Report the clients whose key has expired, or soon will."""
    if ending := ending_keys(root):
        mend = (
            "give the client another: 'modelyard keys add CLIENT-2 --expires DAYS', then 'modelyard keys remove CLIENT'"
        )
        return [Check("keys", "warn", "; ".join(ending), mend)]
    return [Check("keys", "ok", "none ends within two weeks")]


def look_at_notify(root: Path) -> list[Check]:
    """Check that every target of `notify` has its environment variables."""
    from flows.telling.alerts import missing_variables, targets_of_all

    targets = targets_of_all(root)
    if missing := missing_variables(targets):
        found = "; ".join(f"{name}: {variable} is not set" for name, variable in missing.items())
        return [Check("notify", "warn", found, "set it where runs and the worker start; 'modelyard notify --test'")]
    told = f"{len(targets)} targets can be told" if targets else "nobody is to be told"
    return [Check("notify", "ok", told)]


LOOKS: tuple[Callable[[Path], list[Check]], ...] = (
    look_at_python, look_at_versions, look_at_tools, look_at_telemetry, look_at_disk, look_at_folders, look_at_params,
    look_at_dag, look_at_remotes, look_at_mlflow, look_at_champions, look_at_prefect, look_at_schedules, look_at_ports,
    look_at_exposed_servers, look_at_stale_runs, look_at_locks, look_at_keys, look_at_notify,
)  # fmt: skip
