"""What the flow costs over plain DVC: eight trivial stages, run and run again, each driver in the same run.

    python benchmarks/orchestration.py [--rounds 3]

Compares `dvc repro` with `modelyard run`, with a Prefect server up and without one, and takes the time until the latter
says something.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from results import Row, Section, show

ROOT = Path(__file__).parent.parent
QUIET = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    section = Section("orchestration")
    sys.path.insert(0, str(ROOT))
    from components.package.bento import free_port
    from flows.servers.server import running
    from flows.servers.tools import prefect_server

    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        project = make_project(folder / "project")
        server = prefect_server(folder, port)
        own = {**server.environment, **QUIET, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_UI_ENABLED": "0"}
        drivers: dict[str, tuple[list[str], dict[str, str]]] = {
            "dvc repro": (["dvc", "repro", "package@movie_sentiment"], {}),
            "modelyard run, server up": (
                ["modelyard", "run", "movie_sentiment", "--json"],
                {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"},
            ),
            "modelyard run, no server": (["modelyard", "run", "movie_sentiment", "--json"], {}),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in drivers}
        silent: list[float] = []
        with running(folder, replace(server, environment=own)):
            for _ in range(rounds + 1):  # the first round fills caches, and is not counted
                for name, (command, extra) in drivers.items():
                    times[name].append((timed(command, project, extra, fresh=True), timed(command, project, extra)))
                silent.append(silence(["modelyard", "run", "movie_sentiment"], project))
    rows = rows_of({name: seconds[1:] for name, seconds in times.items()})
    rows.append(Row("seconds until `modelyard run` says something", silent[1:], unit="", at_most=1.0))
    show(rows)
    section.record(rows)


def make_project(folder: Path) -> Path:
    """The project's own DAG, with stages that only touch their outputs."""
    folder.mkdir()
    for name in ("components", "serving", "flows"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    yaml = YAML(typ="safe")
    dag: dict[str, Any] = yaml.load(ROOT / "dvc.yaml")
    needed = [name for entry in dag["stages"].values() for name in entry["do"].get("deps", [])]
    for entry in dag["stages"].values():
        do = entry["do"]
        files = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in do.get(kind, [])
        ]
        touched = [f"{name}file" if name.endswith("/") else name for name in files]
        parents = tuple(out for out in files if out.endswith("/"))
        touched += [name for name in needed if name.startswith(parents) and name not in parents]
        folders = sorted({os.path.dirname(name) for name in touched})
        do["cmd"] = f"mkdir -p {' '.join(folders)} && echo '{{}}' | tee {' '.join(touched)}"
    yaml.dump(dag, folder / "dvc.yaml")
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, env=environment({}), check=True)
    return folder


def environment(extra: dict[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | QUIET | {"PATH": path} | extra


def timed(command: list[str], project: Path, extra: dict[str, str], *, fresh: bool = False) -> float:
    """Wall seconds of one command; `fresh` forgets every output first."""
    if fresh:
        shutil.rmtree(project / "artifacts", ignore_errors=True)
        shutil.rmtree(project / ".dvc" / "cache", ignore_errors=True)
        (project / "dvc.lock").unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=project, env=environment(extra), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def silence(command: list[str], project: Path) -> float:
    """Wall seconds until a command says its first word; it then goes on to its end."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=project, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        taken = time.perf_counter() - start
        said = first + process.stdout.read()
    if process.returncode or not first:
        raise SystemExit(f"{' '.join(command)} failed:\n{said.decode(errors='replace')}")
    return taken


def rows_of(times: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Each driver over plain DVC, in each round."""
    base, *others = times
    rows: list[Row] = []
    for at, what in enumerate(("eight stages that run", "eight stages, nothing changed")):
        plain = [pair[at] for pair in times[base]]
        for name in others:
            taken = [pair[at] for pair in times[name]]
            ratios = [mine / its for mine, its in zip(taken, plain, strict=True)]
            ours, peer = (f"{statistics.median(seconds):.2f} s" for seconds in (taken, plain))
            rows.append(Row(f"{what}: {name}", ratios, ours, f"{base}, {peer}"))
    return rows


if __name__ == "__main__":
    main()
