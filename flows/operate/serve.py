"""serve: a recipe's bundle in the foreground, for this machine only unless there are keys."""

import json
import os
import shlex
from ipaddress import ip_address
from pathlib import Path

import click

from components.monitoring.traffic_log import traffic_environment
from components.package.bento import build_bento, serve_command
from components.plumbing.artifacts import Layout, read_json, verify
from components.plumbing.errors import ArtifactError, InputError
from components.recipes import load_recipe
from flows.operate.keys import has_keys, keys_file
from flows.servers.ports import HOST, check_free, is_free
from flows.servers.server import Server, running, until_interrupted, wait_for_any

LONGEST_EXAMPLE = 300


def serve_recipe(root: Path, recipe: str, *, port: int, host: str = HOST) -> None:
    """Serve a recipe's bundle until Ctrl-C. ArtifactError without a bundle, BusyError where the port is taken,
    InputError on an address that others reach without keys."""
    settings = load_recipe(root, recipe)
    address = f"http://{own_address(host)}:{port}"
    environment = keys_environment(root, host)
    layout = Layout(root, recipe, "package")
    bundle = layout.artifact / "bundle"
    if not bundle.is_dir():
        raise ArtifactError(
            f"{recipe} has no bundle yet; make it with 'modelyard run {recipe}', or bring it here with 'dvc pull'"
        )
    check_free(port, "--port")
    check_bindable(host, port)
    verify(layout.artifact, "bundle/")
    tag = build_bento(bundle, layout.observations / "provenance.json")
    server = Server(
        name=tag,
        command=serve_command(tag, host, port),
        health=f"{address}/readyz",
        log=root / ".modelyard" / "logs" / f"serve-{recipe}.log",
        environment={**traffic_environment(root, recipe, settings), **os.environ, **environment},
    )
    with until_interrupted(), running(root, server) as process:
        click.echo(f"{tag} answers on {address} (Ctrl-C ends it). For example:")
        click.echo(f"  {example_command(bundle, address)}")
        click.echo(f"BentoML's own store is {os.environ['BENTOML_HOME']} (BENTOML_HOME, for its own commands).")
        wait_for_any([(server, process)])


def own_address(host: str) -> str:
    """Return the address by which this machine reaches a server on `host`; InputError where that is no IP address."""
    try:
        address = ip_address(host)
    except ValueError as error:
        raise InputError(f"--host is '{host}', which is no IP address; 127.0.0.1 is this machine only") from error
    if address.is_unspecified:
        return HOST if address.version == 4 else "[::1]"
    return f"[{host}]" if address.version == 6 else host


def keys_environment(root: Path, host: str) -> dict[str, str]:
    """Return the environment that tells a server on `host` which keys to accept; InputError where others reach
    it, and nobody has a key."""
    from serving.requests.keys import VARIABLE, is_loopback

    if is_loopback(host):
        return {}
    if not has_keys(root):
        raise InputError(
            f"{host} can be reached from other machines, and nobody has a key yet; make one with 'modelyard keys "
            "add CLIENT', or serve on 127.0.0.1"
        )
    return {VARIABLE: str(keys_file(root))}


def check_bindable(host: str, port: int) -> None:
    """Raise InputError where a server cannot listen on this address and port."""
    if host != HOST and not is_free(port, host=host):
        raise InputError(f"port {port} of {host} cannot be listened on; the address is not of this machine, or in use")


def example_command(bundle: Path, address: str) -> str:
    """Return a command that sends a request to a served bundle: the shortest that it was proven with, of the test
    split; one without a row where all are long."""
    from serving.bundle import GOLDEN, load_about
    from serving.tasks import endpoint_of

    endpoint = endpoint_of(load_about(bundle).task)
    golden = [json.dumps(one["request"], ensure_ascii=False) for one in read_json(bundle / GOLDEN)]
    shortest = min(golden, key=len, default="")
    if not 0 < len(shortest) <= LONGEST_EXAMPLE:
        return f"curl -s {address}{endpoint.ROUTE} {endpoint.example(bundle)}"
    return f"curl -s {address}{endpoint.ROUTE} -H 'content-type: application/json' -d {shlex.quote(shortest)}"
