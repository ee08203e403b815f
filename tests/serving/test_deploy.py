"""What `bentoml containerize` builds, without Docker: its entry point as it is, in the container's layout, and the
files of docs/deploy beside the service that runs."""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ruamel.yaml import YAML

from components.package.bento import free_port, stop
from components.plumbing.artifacts import read_json
from components.plumbing.processes import wait_until_ready
from serving.predictors.session import VARIABLE as DEVICE
from serving.requests.keys import OPEN, add_key
from serving.requests.keys import VARIABLE as KEYS
from tests.patience import PATIENCE_S
from tests.projects import ROOT, environment, run

DEPLOY = ROOT / "docs" / "deploy"
CONTEXT = """
import shutil, sys, bentoml
from bentoml._internal.container import construct_containerfile
with construct_containerfile(bentoml.bentos.get(sys.argv[1])) as (context, _):
    shutil.copytree(context, sys.argv[2])
"""
HOME = "/home/bentoml"
REQUEST: dict[str, Any] = {"json": {"texts": ["a"]}, "timeout": PATIENCE_S}


@pytest.fixture(scope="module")
def container(packaged: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the container's user, as the Dockerfile makes it: `bento/` is the context."""
    home = tmp_path_factory.mktemp("container")
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    run([sys.executable, "-c", CONTEXT, tag, str(home / "bento")], home, BENTOML_HOME=str(bento_home))
    (home / "bento/env/docker/entrypoint.sh").chmod(0o755)
    return home


def dockerfile(home: Path) -> str:
    return (home / "bento/env/docker/Dockerfile").read_text(encoding="utf-8")


def start(home: Path, log: Path, **variables: str) -> tuple[psutil.Popen, str]:
    """What the Dockerfile's ENTRYPOINT does, with its variables and these; its paths lie in `home`."""
    told = dict(re.findall(r"^ENV (\w+)=(\S*)$", dockerfile(home), re.M)) | variables
    told = {name: value.replace(HOME, str(home)) for name, value in told.items() if name not in ("PATH", "VIRTUAL_ENV")}
    told["BENTO_PATH"] = str(home / "bento")
    port = free_port()
    (entrypoint,) = re.findall(r'^ENTRYPOINT \[ "(\S+)" \]$', dockerfile(home), re.M)
    plain = {"PATH": f"{ROOT / '.venv/bin'}:{environment()['PATH']}"}  # the image has it in /app/.venv
    with log.open("wb") as output:
        process = psutil.Popen(
            [entrypoint.replace(HOME, str(home))], cwd=home / "bento", env=plain | told | {"PORT": str(port)},
            stdout=output, stderr=output,
        )  # fmt: skip
    return process, f"http://127.0.0.1:{port}"


def manifests() -> list[Any]:
    return list(YAML(typ="safe").load_all(DEPLOY / "kubernetes.yaml"))


def container_of(manifest: Any) -> Any:
    (only,) = manifest["spec"]["template"]["spec"]["containers"]
    return only


def compose(name: str = "compose.yaml") -> Any:
    return YAML(typ="safe").load(DEPLOY / name)["services"]["movie_sentiment"]


def probes() -> dict[str, str]:
    """The path that each probe of the files asks."""
    service = container_of(manifests()[0])
    found = {name: probe["httpGet"]["path"] for name, probe in service.items() if name.endswith("Probe")}
    (asked,) = re.findall(r"http://127.0.0.1:3000(/\w+)", compose()["healthcheck"]["test"][-1])
    return found | {"healthcheck": asked}


def refusal(container: Path, log: Path, **extra: str) -> str:
    """What the entry point says where it ends at once, with an error and in words."""
    process, _ = start(container, log, **extra)
    try:
        assert process.wait(timeout=2 * PATIENCE_S) != 0
    finally:
        stop(process)
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    return said


def test_entry_point_refuses_to_start_without_keys(container: Path, tmp_path: Path) -> None:
    said = refusal(container, tmp_path / "log")
    assert "refusing to start: 0.0.0.0 can be reached from other machines" in said
    assert "where that file is mounted" in said


def test_entry_point_refuses_a_device_that_is_not_there(container: Path, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "shop", scopes=["predict"], per_minute=600)
    said = refusal(container, tmp_path / "log", **{DEVICE: "cuda", KEYS: str(tmp_path / "keys.json")})
    assert "this ONNX Runtime has no CUDA: install onnxruntime-gpu" in said


@pytest.mark.parametrize("by", ["file", "text"])
def test_entry_point_serves_with_keys_and_answers_the_probes(container: Path, tmp_path: Path, by: str) -> None:
    keys = tmp_path / "keys.json"
    key = add_key(keys, "shop", scopes=["predict"], per_minute=600)
    given = {entry["name"]: entry["value"] for entry in container_of(manifests()[0])["env"]}
    assert given.keys() == compose()["environment"].keys() == {KEYS, "BENTOML_HOME"}
    told = {KEYS: str(keys) if by == "file" else keys.read_text(), "BENTOML_HOME": str(tmp_path / "bentoml")}
    process, url = start(container, tmp_path / "log", **told)
    try:
        wait_until_ready(process, f"{url}/readyz", name="tiny", timeout_s=60, log=tmp_path / "log")
        for name, path in probes().items():
            assert httpx.get(f"{url}{path}", timeout=PATIENCE_S).status_code == 200, name
        assert httpx.post(f"{url}/classify", **REQUEST).status_code == 401
        answer = httpx.post(f"{url}/classify", **REQUEST, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200
    finally:
        stop(process)


def test_files_name_what_the_image_has(container: Path) -> None:
    assert len(probes()) == 4
    assert set(probes().values()) <= OPEN
    exposed = re.findall(r"^EXPOSE (\d+)$", dockerfile(container), re.M)
    deployment, service = manifests()
    spec, only = deployment["spec"]["template"]["spec"], container_of(deployment)
    (port,) = only["ports"]
    assert str(port["containerPort"]) in exposed
    assert {probe["httpGet"]["port"] for name, probe in only.items() if name.endswith("Probe")} == {port["name"]}
    assert compose()["ports"] == [f"127.0.0.1:{port['containerPort']}:{port['containerPort']}"]
    (user,) = set(re.findall(r"^ARG BENTO_USER_UID=(\d+)$", dockerfile(container), re.M))
    assert str(spec["securityContext"]["runAsUser"]) == user
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_keys_are_a_secret_and_limits_are_set() -> None:
    deployment = manifests()[0]
    spec, only = deployment["spec"]["template"]["spec"], container_of(deployment)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    env = {entry["name"]: entry["value"] for entry in only["env"]}
    assert volumes.keys() == mounts.keys()
    assert volumes["keys"]["secret"]["secretName"] in (DEPLOY / "README.md").read_text()
    assert Path(env[KEYS]).parent == Path(mounts["keys"])
    assert only["resources"]["limits"].keys() == {"cpu", "memory"}
    document = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    (name,) = document["secrets"]
    assert compose()["secrets"] == [name]
    assert compose()["environment"][KEYS] == f"/run/secrets/{name}"
    assert compose()["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


def test_files_for_a_gpu_change_the_same_service() -> None:
    patch = container_of(YAML(typ="safe").load(DEPLOY / "kubernetes.gpu.yaml"))
    assert patch["name"] == container_of(manifests()[0])["name"]
    assert {entry["name"]: entry["value"] for entry in patch["env"]} == {DEVICE: "cuda"}
    assert patch["resources"]["limits"]["nvidia.com/gpu"] == 1
    service = compose("compose.gpu.yaml")
    assert service["environment"] == {DEVICE: "cuda"}
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    built = (DEPLOY / service["build"]["dockerfile"]).read_text()
    assert f"onnxruntime-gpu[cuda,cudnn]=={importlib.metadata.version('onnxruntime')}" in built


def test_bentoml_finds_the_bundle_by_the_printed_store(packaged: Path, bento_home: Path, tmp_path: Path) -> None:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    listed = run(["bentoml", "list"], tmp_path, BENTOML_HOME=str(bento_home))
    assert tag in listed.stdout
