import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from compileall import compile_dir
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from components.monitoring.causes import causes_file, comes_to_a_verdict
from components.package.bento import free_port, tag_of
from components.plumbing.artifacts import read_json, sha256_of, write_json
from components.plumbing.environment import PREFECT_SERVER
from components.plumbing.errors import BusyError, InputError, ParamsError
from components.plumbing.locks import Holder, held
from components.plumbing.processes import last_line
from components.promotion.ledger import append
from components.recipes import load_yaml
from flows.operate.plan import check_recipes, plan
from flows.operate.up import Seen, bring_down, is_up, look, routed
from flows.pipeline.stage import StageError
from flows.servers.ports import is_free
from flows.servers.records import Record, process_of, records, start, stop
from flows.servers.server import Server
from serving.bundle import MANIFEST, MODEL, identify
from tests.patience import PATIENCE_S, wait_until
from tests.projects import ROOT, environment, run, tiny_recipe, write_params


def make_served(folder: Path, packaged: Path | None = None, **service: object) -> Path:
    """A project that serves the recipe `tiny`, packaged where `packaged` has it."""
    folder.mkdir()
    shutil.copy(ROOT / "dvc.yaml", folder)
    recipe = tiny_recipe()
    recipe["service"] |= {"port": free_port(), **service}
    recipe["schedule"] = {"cron": "0 3 1 1 *", "timezone": "UTC", "limit_s": 600}
    write_params(folder, {"tiny": recipe})
    if packaged is not None:
        shutil.copytree(packaged / "artifacts/tiny/package", folder / "artifacts/tiny/package")
    return folder


def port_of(project: Path) -> int:
    return plan(project, mlflow_port=1, prefect_port=2)[-1].port or 0


def parts_of(project: Path, *words: str, **extra: str) -> tuple[int, dict[str, dict]]:
    """Exit code and rows of a command, by their names."""
    done = run(["modelyard", *words, "--json"], project, check=False, **extra)
    assert done.stdout, done.stderr
    return done.returncode, {part["name"]: part for part in json.loads(done.stdout)["parts"]}


@pytest.fixture
def project(tmp_path: Path, packaged: Path, bento_home: Path) -> Generator[tuple[Path, dict[str, str]]]:
    """A packaged project, and the environment of its commands; nothing of it runs afterwards."""
    project = make_served(tmp_path / "project", packaged)
    ports = {"MODELYARD_MLFLOW_PORT": str(free_port()), "MODELYARD_PREFECT_PORT": str(free_port())}
    yield project, ports | {"BENTOML_HOME": str(bento_home)}
    for record in records(project).values():
        stop(project, record)


@pytest.mark.timeout(600)  # three servers, twice
@pytest.mark.long
def test_two_at_once_start_each_part_once_and_a_killed_one_is_seen_and_brought_back(
    project: tuple[Path, dict[str, str]],
) -> None:
    root, extra = project
    both = [
        subprocess.Popen(
            ["modelyard", "up", "--json"], cwd=root, env=environment(**extra), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        said = [one.communicate(timeout=400)[0] for one in both]
    finally:
        for one in both:
            one.kill()
            one.wait()
    assert [one.returncode for one in both] == [0, 0], said
    places = [[(part["name"], part["address"], part["pid"]) for part in json.loads(one)["parts"]] for one in said]
    assert places[0] == places[1]
    known = records(root)
    assert set(known) == {"mlflow", "prefect", "worker", "tiny"}
    assert {name: address for name, address, _ in places[0]} == {name: one.address for name, one in known.items()}
    assert f"{known['prefect'].address}/api" in (root / PREFECT_SERVER).read_text()

    code, parts = parts_of(root, "status", **extra)
    assert (code, {part["state"] for part in parts.values()}) == (0, {"ok"})
    assert parts["mlflow"]["version"]
    assert parts["tiny"]["version"].endswith(tag_of(root / "artifacts/tiny/package/bundle"))

    for name in ("mlflow", "tiny"):
        os.kill(known[name].pid, 9)
    code, parts = parts_of(root, "status", **extra)
    assert code == 1
    assert [parts[name]["state"] for name in ("mlflow", "prefect", "tiny")] == ["crashed", "ok", "crashed"]
    assert last_line(Path(known["tiny"].log)) in parts["tiny"]["note"]

    code, parts = parts_of(root, "up", **extra)
    assert (code, {part["state"] for part in parts.values()}) == (0, {"ok"})
    assert parts["prefect"]["pid"] == known["prefect"].pid
    assert parts["tiny"]["pid"] != known["tiny"].pid
    assert httpx.get(f"{parts['tiny']['address']}/readyz", timeout=PATIENCE_S).status_code == 200

    family = [p for part in parts.values() for p in psutil.Process(part["pid"]).children(recursive=True)]
    done = run(["modelyard", "down"], root, **extra)
    assert sorted(done.stdout.split("\n"))[1:] == sorted(f"{name} stopped" for name in parts)
    assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []
    assert all(is_free(record.port) for record in known.values() if record.port)
    code, parts = parts_of(root, "status", **extra)
    assert (code, {part["state"] for part in parts.values()}) == (0, {"stopped"})
    assert not (root / PREFECT_SERVER).exists()


def champion(root: Path, number: int, bundle: Path) -> str:
    """Make a bundle champion, as promotion does; gives its tag."""
    path = root / ".modelyard/champions/tiny.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    identity, tag = identify(bundle), tag_of(bundle)
    digests = {"digest": identity.version, "build": identity.build}
    write_json(path, {"version": number, **digests, "tag": tag, "bundle": str(bundle)})
    return tag


def another(bundle: Path, folder: Path) -> Path:
    """The same files as another version."""
    shutil.copytree(bundle, folder)
    (folder / "card.md").write_text("# another tiny\n")
    write_json(folder / MODEL, read_json(folder / MODEL) | {"recipe": "another"})
    manifest = read_json(folder / MANIFEST)
    manifest["files"] |= {name: sha256_of(folder / name) for name in ("card.md", MODEL)}
    write_json(folder / MANIFEST, manifest)
    return folder


class Yes(BaseHTTPRequestHandler):
    """Answers 200 to whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


@pytest.fixture
def own(prefect_api: str) -> Generator[dict[str, str]]:
    """MLflow and Prefect are servers of the user's own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"MLFLOW_TRACKING_URI": url, "PREFECT_API_URL": prefect_api}
        server.shutdown()


def test_changed_bundle_is_refused_and_the_next_whole_one_is_served(
    project: tuple[Path, dict[str, str]], own: dict[str, str], bento_home: Path
) -> None:
    root, extra = project
    extra |= own
    recipe = load_yaml(root / "params.yaml")["recipes"]["tiny"]
    del recipe["schedule"]  # so that nothing of it stays on the server that all tests share
    write_params(root, {"tiny": recipe})
    bundle = root / "artifacts/tiny/package/bundle"
    packaged = tag_of(bundle)
    stored = bento_home / "bentos" / packaged.replace(":", "/")
    assert compile_dir(stored / "src/serving", quiet=1)  # as a Python that writes bytecode does when it serves
    built = (stored / "bento.yaml").stat().st_mtime_ns
    code, parts = parts_of(root, "up", **extra)
    assert code == 0
    assert (stored / "bento.yaml").stat().st_mtime_ns == built
    assert parts["mlflow"]["note"] == "your own, by MLFLOW_TRACKING_URI"
    url = parts["tiny"]["address"]

    second = another(bundle, root / "second")
    model = second / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    champion(root, 2, second)
    code, parts = wait_for(root, "degraded", **extra)
    assert code == 1
    assert "version 2 is refused" in parts["tiny"]["note"]
    assert "model.onnx is another" in parts["tiny"]["note"]
    assert parts["tiny"]["version"].endswith(packaged)
    assert httpx.post(f"{url}/classify", json={"texts": ["a dull story"]}, timeout=PATIENCE_S).status_code == 200
    (log,) = (root / ".modelyard/traffic/tiny").glob("traffic-*.jsonl")
    assert json.loads(log.read_text())["input"] == "a dull story"

    model.write_bytes(content)
    tag = champion(root, 2, second)
    code, parts = wait_for(root, "ok", **extra)
    assert (code, parts["tiny"]["version"]) == (0, f"2 {tag}")
    assert lineage(url)["manifest"]["files"]["card.md"] == sha256_of(second / "card.md")
    shutil.rmtree(bento_home / "bentos" / tag.replace(":", "/"))


def wait_for(root: Path, state: str, **extra: str) -> tuple[int, dict[str, dict]]:
    """What status says once the service is in a state."""
    found: list[tuple[int, dict[str, dict[str, Any]]]] = []

    def is_there() -> bool:
        found.append(parts_of(root, "status", **extra))
        return found[-1][1]["tiny"]["state"] == state

    wait_until(is_there, lambda: found[-1], within_s=3 * PATIENCE_S)
    return found[-1]


def lineage(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/lineage", timeout=PATIENCE_S).json()


def test_port_in_use_is_named_with_what_holds_it_and_nothing_is_started(tmp_path: Path) -> None:
    root = make_served(tmp_path / "project")
    with socket.create_server(("127.0.0.1", port_of(root))):
        done = run(["modelyard", "up"], root, check=False, MODELYARD_MLFLOW_PORT=str(free_port()))
    assert done.returncode == 1
    assert f"port {port_of(root)} is in use by " in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert "recipes.tiny.service.port in params.yaml" in done.stderr
    assert records(root) == {}


def test_status_notes_a_retraining_that_stopped_and_a_better_version_of_before(tmp_path: Path) -> None:
    written = {"serving": None, "refused": None, "crashes": 0, "challenger": None, "state": "serving"}
    (tmp_path / ".modelyard/router").mkdir(parents=True)
    write_json(tmp_path / ".modelyard/router/tiny.json", written)
    assert routed(tmp_path, "tiny", is_healthy=True) == ("ok", "", "")
    with pytest.raises(StageError), comes_to_a_verdict(tmp_path, "tiny", cause="drift"):
        raise StageError("validate@tiny: expected texts of 1 to 1200 characters")
    state, _, note = routed(tmp_path, "tiny", is_healthy=True)
    assert state == "ok"
    assert note.startswith("the last retraining (drift, ")
    assert note.endswith(" UTC): stopped: validate@tiny: expected texts of 1 to 1200 characters")
    with comes_to_a_verdict(tmp_path, "tiny", cause="schedule") as end:
        end.state, end.why = "nothing new", "the source gave the rows that it gave before"
    assert routed(tmp_path, "tiny", is_healthy=True) == ("ok", "", "")
    causes_file(tmp_path, "tiny").write_text("no JSON")
    assert routed(tmp_path, "tiny", is_healthy=True) == ("ok", "", "")
    ends = [{"version": number, "digest": str(number), "build": str(number)} for number in (1, 2)]
    append(tmp_path, {"recipe": "tiny", "action": "promote", "from": ends[0], "to": ends[1], "best": ends[0]})
    write_json(tmp_path / ".modelyard/champions/tiny.json", {})
    assert "version 1 was better on the held-out rows" in routed(tmp_path, "tiny", is_healthy=True)[2]


@pytest.fixture
def kept(tmp_path: Path) -> Generator[Path]:
    """A served project, of which nothing runs afterwards."""
    root = make_served(tmp_path / "project")
    yield root
    for record in records(root).values():
        stop(root, record)


def serving(root: Path, recipe: str) -> int:
    """A process that is recorded as a recipe's router, with what a router writes down; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(root / "www")]
    (root / "www").mkdir(exist_ok=True)
    (root / "www/readyz").touch()
    server = Server(recipe, command, "", root / "www.log")
    start(root, recipe, server, address=f"http://127.0.0.1:{port}", port=port, stop_s=PATIENCE_S)
    written = {"state": "serving", "refused": None, "crashes": 0, "challenger": None}
    path = root / f".modelyard/router/{recipe}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**written, "serving": {"version": "", "tag": f"{recipe}:abc"}})
    while is_free(port):
        pass
    return port


def status_of(root: Path) -> dict[str, Seen]:
    return {row.name: row for row in look(root, mlflow_port=None, prefect_port=None)}


def test_fault_of_one_recipe_is_the_note_of_its_row_and_the_others_are_seen(kept: Path) -> None:
    serving(kept, "tiny")
    good, bad = tiny_recipe(), tiny_recipe()
    bad["finetune"]["epochs"] = "two"
    write_params(kept, {"tiny": bad, "other": bad, "good": good})
    rows = status_of(kept)
    assert [rows[name].state for name in ("tiny", "other", "good")] == ["degraded", "refused", "stopped"]
    assert "recipes.tiny.finetune.epochs" in rows["tiny"].note
    assert rows["tiny"].version == "? tiny:abc"
    assert "recipes.other.finetune.epochs" in rows["other"].note
    done = run(["modelyard", "status"], kept, check=False)
    assert done.returncode == 1
    assert "recipes.other.finetune.epochs" in done.stdout
    with pytest.raises(ParamsError, match=r"(?s)recipes.tiny.finetune.epochs.*recipes.other.finetune.epochs"):
        check_recipes(kept)


def test_broken_params_leave_what_runs_in_sight(kept: Path) -> None:
    serving(kept, "tiny")
    (kept / "params.yaml").write_text("recipes: {tiny: [\n")
    rows = status_of(kept)
    assert (rows["tiny"].state, rows["params.yaml"].state) == ("degraded", "refused")
    assert "is not YAML" in rows["params.yaml"].note


@pytest.mark.timeout(300)
def test_up_starts_the_valid_recipe_and_says_the_fault_of_the_other(
    project: tuple[Path, dict[str, str]], own: dict[str, str]
) -> None:
    root, extra = project
    recipe = load_yaml(root / "params.yaml")["recipes"]["tiny"]
    del recipe["schedule"]
    bad = tiny_recipe()
    bad["finetune"]["epochs"] = "two"
    write_params(root, {"bad": bad, "tiny": recipe})
    done = run(["modelyard", "up", "--json"], root, check=False, **extra, **own)
    rows = {part["name"]: part for part in json.loads(done.stdout)["parts"]}
    assert done.returncode == 2
    assert "recipes.bad.finetune.epochs" in done.stderr
    assert (rows["tiny"]["state"], rows["bad"]["state"]) == ("ok", "refused")
    assert httpx.get(f"{rows['tiny']['address']}/readyz", timeout=PATIENCE_S).status_code == 200


@pytest.mark.parametrize("content", ["{", '{"name": "tiny"}', ""])
def test_record_that_cannot_be_read_is_a_row_of_its_own(kept: Path, content: str) -> None:
    start(kept, "worker", sleeper(kept), address="", port=None, stop_s=PATIENCE_S)
    running = start(kept, "tiny", sleeper(kept), address="", port=None, stop_s=PATIENCE_S)
    for name in ("tiny", "gone"):
        (kept / f".modelyard/run/{name}.json").write_text(content)
    rows = status_of(kept)
    done = run(["modelyard", "down"], kept, check=False)
    stop(kept, running)
    assert done.stdout.split() == ["worker", "stopped"]
    assert f"tiny was not stopped; {rows['tiny'].note}" in " ".join(done.stderr.split())
    assert f"(kill {running.pid})" in rows["tiny"].note
    assert "kill" not in rows["gone"].note
    assert {name: row.state for name, row in rows.items()} == {
        "mlflow": "stopped", "prefect": "stopped", "worker": "degraded", "tiny": "degraded", "gone": "degraded",
    }  # fmt: skip
    for name in ("tiny", "gone"):
        assert f"remove {kept}/.modelyard/run/{name}.json" in rows[name].note


def test_what_runs_for_the_folder_that_a_project_was_in_is_not_taken_for_its_own(kept: Path, tmp_path: Path) -> None:
    start(kept, "tiny", sleeper(kept), address="", port=None, stop_s=PATIENCE_S)
    copy = Path(shutil.copytree(kept, tmp_path / "copy"))
    assert status_of(copy)["tiny"].state == "stopped"
    assert bring_down(copy) == []
    moved = kept.rename(tmp_path / "moved")
    row, record = status_of(moved)["tiny"], records(moved)["tiny"]
    assert process_of(record) is not None
    assert (row.state, row.pid) == ("degraded", record.pid)
    assert f"the project was in {kept}, and works there; 'modelyard up' starts it anew" in row.note
    assert not is_up(moved, record)  # so 'up' ends it, and starts another
    os.kill(record.pid, 9)
    assert status_of(moved)["tiny"].log == str(moved / "sleeper.log")
    assert bring_down(moved) == [("tiny", True)]


def test_champion_that_nothing_names_any_more_is_degraded(kept: Path) -> None:
    serving(kept, "tiny")
    write_params(kept, {"tiny": tiny_recipe()})
    assert status_of(kept)["tiny"].state == "ok"  # served from its package, and never promoted
    named = {"version": 3, "digest": "0" * 64}
    append(kept, {"id": "1", "recipe": "tiny", "action": "promote", "from": None, "to": named})
    row = status_of(kept)["tiny"]
    assert row.state == "degraded"
    assert row.note.startswith("nothing names its champion, version 3, any more")
    assert "'modelyard up' mends that" in row.note


def test_crashed_server_comes_back_on_the_port_it_had(kept: Path) -> None:
    for name, port in (("mlflow", 15000), ("prefect", 14200)):
        path = kept / f".modelyard/run/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(Record(name, 2**22 + 1, 0.0, "gone", f"http://127.0.0.1:{port}", port, "", 1)))
    assert [part.port for part in plan(kept, mlflow_port=None, prefect_port=None)][:2] == [15000, 14200]
    assert [part.port for part in plan(kept, mlflow_port=1, prefect_port=None)][:2] == [1, 14200]
    for path in (kept / ".modelyard/run").iterdir():
        path.unlink()
    assert [part.port for part in plan(kept, mlflow_port=None, prefect_port=None)][:2] == [5000, 4200]


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    root = make_served(tmp_path / "project", port=5000)
    with pytest.raises(InputError, match=r"port 5000 is given to mlflow \(--mlflow-port\) and tiny \(recipes.tiny"):
        plan(root, mlflow_port=5000, prefect_port=4200)


def test_recipe_that_is_not_to_be_served_is_left_out(tmp_path: Path) -> None:
    root = make_served(tmp_path / "project")
    recipe = tiny_recipe()
    recipe["serve"] = False
    write_params(root, {"tiny": recipe})
    assert "tiny" not in [part.name for part in plan(root, mlflow_port=1, prefect_port=2)]


def sleeper(root: Path, *, stubborn: bool = False) -> Server:
    """A server that starts another process; a stubborn one does not end when it is asked."""
    ignore = "trap '' TERM; " if stubborn else ""
    return Server("sleeper", ["sh", "-c", f"{ignore}sleep 600 & sleep 600; wait"], "", root / "sleeper.log")


@pytest.mark.parametrize("stubborn", [False, True])
def test_end_takes_all_that_was_started(tmp_path: Path, stubborn: bool) -> None:
    server, stop_s = sleeper(tmp_path, stubborn=stubborn), 1 if stubborn else PATIENCE_S
    record = start(tmp_path, "sleeper", server, address="", port=None, stop_s=stop_s)
    leader = process_of(record)
    assert leader is not None
    while len(children := leader.children()) < 2:
        pass
    assert stop(tmp_path, record) is not stubborn
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in [leader, *children])
    assert records(tmp_path) == {}


def holder(root: Path) -> Server:
    """A process that runs a recipe, as the others are told."""
    code = (
        "import time; from pathlib import Path; from components.plumbing.locks import hold\n"
        "with hold(Path('.'), 'tiny', doing='modelyard run tiny', wait=False): time.sleep(600)"
    )
    return Server("holder", [sys.executable, "-c", code], "", root / "holder.log")


def wait_until_held(root: Path) -> int:
    """Gives the process."""
    while (pid := held(root).get("tiny", Holder()).pid) == 0:
        pass
    return pid


def test_down_waits_for_whoever_runs_a_recipe_unless_it_is_forced(tmp_path: Path) -> None:
    start(tmp_path, "sleeper", sleeper(tmp_path), address="", port=None, stop_s=PATIENCE_S)
    with subprocess.Popen(holder(tmp_path).command, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT))) as other:
        assert wait_until_held(tmp_path) == other.pid
        with pytest.raises(BusyError, match=rf"tiny is in use: modelyard run tiny \(process {other.pid}.*down --force"):
            bring_down(tmp_path)
        assert list(records(tmp_path)) == ["sleeper"]
        assert bring_down(tmp_path, force=True) == [("sleeper", True)]
        assert bring_down(tmp_path) == []  # nothing would be taken from it
        other.kill()


def test_run_of_its_own_worker_ends_with_down(tmp_path: Path) -> None:
    record = start(tmp_path, "worker", holder(tmp_path), address="", port=None, stop_s=PATIENCE_S)
    assert wait_until_held(tmp_path) == record.pid
    assert bring_down(tmp_path) == [("worker", True)]


def test_worker_without_a_readable_record_does_not_keep_down_from_the_others(tmp_path: Path) -> None:
    start(tmp_path, "sleeper", sleeper(tmp_path), address="", port=None, stop_s=PATIENCE_S)
    record = start(tmp_path, "worker", holder(tmp_path), address="", port=None, stop_s=PATIENCE_S)
    assert wait_until_held(tmp_path) == record.pid
    (tmp_path / ".modelyard/run/worker.json").write_text("{")
    assert bring_down(tmp_path) == [("sleeper", True)]
    stop(tmp_path, record)


def test_process_that_got_the_number_of_another_is_left_alone(tmp_path: Path) -> None:
    record = start(tmp_path, "sleeper", sleeper(tmp_path), address="", port=None, stop_s=PATIENCE_S)
    path = tmp_path / ".modelyard/run/sleeper.json"
    write_json(path, {**read_json(path), "created": record.created - 100, "mark": "another start"})
    older = records(tmp_path)["sleeper"]
    assert process_of(older) is None
    stop(tmp_path, older)
    assert process_of(record) is not None
    stop(tmp_path, record)
    assert process_of(record) is None
