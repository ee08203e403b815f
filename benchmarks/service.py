"""Served bundles under load, beside the two services that one would write by hand for the uncompressed model.

    python benchmarks/service.py [--recipes movie_sentiment movie_sentiment_small] [--seconds 8] [--rounds 3] [--soak 0]
                                 [--routed]

The two: FastAPI with transformers (torch, fp32), and FastAPI with ONNX Runtime, whose quantize_dynamic made int8 of
what movie_sentiment fine-tuned; the latter in the way that answers most of 32 clients here, of one process or one a
core, with threads or without. And each bundle with one row a call. Same machine, same rows (the golden requests of the
first bundle, one text each), one after another in each round; the client is a process of its own and costs about 0.1
ms a request. Requests/s are the median of rounds. Then, the last bundle alone: ten times more texts than it answered,
sent whether or not it answers (an open loop), in requests of one text and of 16; how soon it is itself again; and with
--soak N, its memory over N requests. With --routed the bundles are behind their router and log their traffic, as
'modelyard up' serves them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from components.plumbing.artifacts import sha256_of, write_json
from components.plumbing.environment import QUIET
from results import Row, Section, show, stop
from serving.bundle import MANIFEST, MODEL
from serving.predictors.batching import BATCHING

ROOT = Path(__file__).parent.parent
TORCH, ONNX = "FastAPI, torch fp32", "FastAPI, onnxruntime int8"
ALONE = "{}, one row a call"
RECIPES = ("movie_sentiment", "movie_sentiment_small")
MIN_SPEEDUP = 2.0
"""The least requests a second of the most clients, beside ONNX Runtime's int8 of the uncompressed model."""
WAYS: dict[str, Mapping[str, Any]] = {
    "1 process, threads": {"processes": 1, "threads": None, "inline": False},
    "1 process, threads of one core a call": {"processes": 1, "threads": 1, "inline": False},
    "2 processes, threads of one core a call": {"processes": 2, "threads": 1, "inline": False},
    "2 processes, no threads": {"processes": 2, "threads": 1, "inline": True},
}
"""How ONNX Runtime is served on two cores."""
NUM_CLIENTS = (1, 32)
TIMES = 10  # more than it can bear
FLOODS = (1, 16)  # texts of a request
READY_TIMEOUT_S = 120
OUR_SETTINGS = {"TOKENIZERS_PARALLELISM": QUIET["TOKENIZERS_PARALLELISM"]}  # as 'modelyard serve' sets them


Command = Callable[[int], list[str]]
"""A function from a port to what starts a service there."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="of texts, with a bundle")
    parser.add_argument("--project", type=Path, default=ROOT, help="where the artifacts are")
    parser.add_argument("--bundle", type=Path, default=None, help="another bundle, for one recipe")
    parser.add_argument("--uncompressed", default=RECIPES[0], help="the recipe whose fine-tuned model the others serve")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=0, help="requests of the soak")
    parser.add_argument("--routed", action="store_true", help="ours as 'modelyard up' serves them")
    args = parser.parse_args()
    artifacts: Path = args.project / "artifacts"
    there = {name: artifacts / name / "package" / "bundle" for name in args.recipes or RECIPES}
    if args.bundle and len(args.recipes or []) != 1:
        stop("--bundle is of one recipe: name it with --recipes")
    if args.bundle:
        there = {args.recipes[0]: args.bundle}
    bundles = {name: path.resolve() for name, path in there.items() if path.is_dir()}
    if missing := [name for name in args.recipes or RECIPES[:1] if name not in bundles]:
        stop(f"artifacts/{missing[0]} has no bundle: 'modelyard run {missing[0]}' makes it, or --project names another")
    if not (artifacts / args.uncompressed / "finetune" / "model").is_dir():
        stop(f"artifacts/{args.uncompressed} has no fine-tuned model, which --uncompressed names")
    compare(args, bundles, artifacts / args.uncompressed)


# The comparison.


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    port: int
    pid: int
    ready_s: float

    def members(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def rss_mib(self) -> float:
        return sum(member.memory_info().rss for member in self.members()) / 2**20

    def cpu_s(self) -> float:
        return sum(sum(member.cpu_times()[:2]) for member in self.members())


@dataclass(frozen=True)
class Measured:
    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the service, a request."""
    rss_mib: float


def compare(args: argparse.Namespace, bundles: Mapping[str, Path], uncompressed: Path) -> None:
    section = Section("service")
    golden = json.loads((next(iter(bundles.values())) / "golden.json").read_text(encoding="utf-8"))
    texts: list[str] = [text for one in golden for text in one["request"]["texts"]]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("BENTOML_HOME", str(Path(scratch) / "bentoml"))
        commands = ours(bundles, Path(scratch), is_routed=args.routed)
        torch, ways = by_hand(uncompressed.resolve(), Path(scratch))
        way, notes = best_way(ways, texts, Path(scratch) / "log", seconds=args.seconds / 2)
        commands |= {TORCH: torch, ONNX: ways[way]}
        found: dict[tuple[str, int], list[Measured]] = {}
        ready_s: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(args.rounds):
            turn = number % len(commands)
            for name in [*commands][turn:] + [*commands][:turn]:
                with running(commands[name], Path(scratch) / "log") as service:
                    ready_s[name].append(service.ready_s)
                    ask(service, texts, num_clients=4, seconds=1.0)  # warms up
                    for num_clients in NUM_CLIENTS:
                        one = measure(service, texts, num_clients=num_clients, seconds=args.seconds)
                        found.setdefault((name, num_clients), []).append(one)
        rows = [row for name in bundles for row in rows_of(name, found, ready_s)]
        show(rows)
        last = [*bundles][-1]
        can_bear = median(one.requests_s for one in found[last, NUM_CLIENTS[-1]])
        with running(commands[last], Path(scratch) / "log") as service:
            for per_request in FLOODS:
                rate = TIMES * can_bear / per_request
                told = flood(service, texts, per_request=per_request, rate=rate, seconds=args.seconds)
                notes.append(f"{last}: {told}")
            if args.soak:
                notes.append(f"{last}: {soak(service, texts, num_requests=args.soak, rate=can_bear)}")
        sys.stdout.write("\n".join(notes) + "\n")
        section.record(rows, notes=notes)


def ours(bundles: Mapping[str, Path], scratch: Path, *, is_routed: bool) -> dict[str, Command]:
    """Return what starts each bundle on a port."""
    from components.package.bento import build_bento, serve_command

    if is_routed:
        return {name: routed(name, bundle, scratch / name) for name, bundle in bundles.items()}
    alone = {ALONE.format(name): one_row_a_call(bundle, scratch / f"{name}-alone") for name, bundle in bundles.items()}
    tags = {name: build_bento(bundle, None) for name, bundle in {**bundles, **alone}.items()}
    return {name: lambda port, tag=tag: serve_command(tag, "127.0.0.1", port) for name, tag in tags.items()}


def one_row_a_call(bundle: Path, folder: Path) -> Path:
    """Return a copy of a bundle, in a new folder, that takes one row a call."""
    shutil.copytree(bundle, folder)
    write_json(folder / BATCHING, {"batch_size": 1})
    for told, file in ((MODEL, BATCHING), (MANIFEST, BATCHING), (MANIFEST, MODEL)):
        known = json.loads((folder / told).read_text(encoding="utf-8"))
        known["files"][file] = sha256_of(folder / file)
        write_json(folder / told, known)
    return folder


def by_hand(uncompressed: Path, scratch: Path) -> tuple[Command, dict[str, Command]]:
    """Return what starts torch on a port, and the same for each way of ONNX Runtime, of a fine-tuned model."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    from components.export.exporter import quiet
    from components.models.storage import load as load_model
    from components.tasks.text_classification.judging.export import export_classifier

    weights, folder = uncompressed / "finetune" / "model", scratch / "int8"
    shutil.copytree(uncompressed / "preprocess" / "predictor", folder)
    onnx.save(export_classifier(load_model(weights)), scratch / "fp32.onnx")
    with quiet():
        quantize_dynamic(scratch / "fp32.onnx", folder / "model.onnx")
    known = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))
    common = {"labels": known["labels"], "max_tokens": known["max_tokens"]}

    def command(kind: str, model: Path, *, processes: int, threads: int | None, inline: bool) -> Command:
        settings = common | {"kind": kind, "model": str(model), "threads": threads, "inline": inline}
        script = str(Path(__file__).with_name("service_plain.py").resolve())
        return lambda port: [sys.executable, script, str(port), str(processes), json.dumps(settings)]

    torch = command("torch", weights, processes=1, threads=None, inline=False)
    return torch, {words: command("onnx", folder, **how) for words, how in WAYS.items()}


def best_way(ways: Mapping[str, Command], texts: list[str], log: Path, *, seconds: float) -> tuple[str, list[str]]:
    """Return the way that answers most of the most clients, and a note on all of them."""
    rates: dict[str, float] = {}
    for words, command in 2 * [*ways.items()]:  # the better of two: what else the machine does only slows one down
        with running(command, log) as service:
            ask(service, texts, num_clients=4, seconds=1.0)
            found = measure(service, texts, num_clients=NUM_CLIENTS[-1], seconds=seconds)
            rates[words] = max(found.requests_s, rates.get(words, 0.0))
    best = max(rates, key=lambda words: rates[words])
    told = ", ".join(f"{words} {rate:.0f}" for words, rate in rates.items())
    return best, [f"{ONNX}, requests/s of {NUM_CLIENTS[-1]} clients: {told}; the best was measured"]


def routed(recipe: str, bundle: Path, project: Path) -> Command:
    """What starts the router of a project that has this bundle, and its Bento."""
    from ruamel.yaml import YAML

    from components.recipes import load_yaml

    shutil.copytree(bundle, project / "artifacts" / recipe / "package" / "bundle")
    shutil.copy(ROOT / "dvc.yaml", project)
    params = load_yaml(ROOT / "params.yaml")
    params["recipes"] = {recipe: params["recipes"][recipe]}

    def command(port: int) -> list[str]:
        params["recipes"][recipe].setdefault("service", {})["port"] = port
        YAML().dump(params, project / "params.yaml")
        return [sys.executable, "-m", "flows.router", str(project), recipe]

    return command


@contextmanager
def running(command: Command, log: Path) -> Generator[Running]:
    from components.package.bento import free_port, stop

    port = free_port()
    started = time.perf_counter()
    with log.open("wb") as output:
        process = psutil.Popen(
            words := command(port), stdout=output, stderr=output, cwd=log.parent, start_new_session=True,
            env=os.environ | (OUR_SETTINGS if "bentoml" in words else {}),
        )  # fmt: skip
    try:
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success:
                    break
            if process.poll() is not None or time.perf_counter() - started > READY_TIMEOUT_S:
                sys.exit(f"a service did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield Running(port, process.pid, time.perf_counter() - started)
    finally:
        stop(process)


def ask(service: Running, texts: list[str], **how: Any) -> dict[str, Any]:
    """What a client in its own process finds."""
    wanted = json.dumps({"port": service.port, "texts": texts, "per_request": 1} | how)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("service_client.py")), wanted],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def measure(service: Running, texts: list[str], *, num_clients: int, seconds: float) -> Measured:
    before = service.cpu_s()
    found = ask(service, texts, num_clients=num_clients, seconds=seconds)
    good = found["statuses"].get("200", {"num": 0, "p50": 0.0, "p99": 0.0})
    if not set(found["statuses"]) <= {"200", "503"} or not good["num"]:
        sys.exit(f"a service answered {found['statuses']}")
    num_refused = int(found["statuses"].get("503", {"num": 0})["num"])
    if num_refused:  # they come fast, and are no answers
        sys.stderr.write(f"{num_refused} of {found['in_time']} requests of {num_clients} clients were turned away\n")
    requests_s = (found["in_time"] - num_refused) / found["elapsed_s"]
    cpu_ms = 1000 * (service.cpu_s() - before) / good["num"]
    return Measured(requests_s, good["p50"], good["p99"], cpu_ms, service.rss_mib())


def rows_of(
    served: str, found: Mapping[tuple[str, int], Sequence[Measured]], ready_s: Mapping[str, Sequence[float]]
) -> list[Row]:
    """Return a bundle's figures over those of each service by hand: requests a second, what they cost, the start."""

    def told(name: str, num_clients: int) -> str:
        several = found[name, num_clients]
        rate, p50, p99, cpu = (
            median(getattr(one, field) for one in several) for field in ("requests_s", "p50_ms", "p99_ms", "cpu_ms")
        )
        memory = max(one.rss_mib for one in several)
        return f"{rate:.0f}/s, p50 {p50:.1f}, p99 {p99:.1f}, CPU {cpu:.1f} ms, {memory:.0f} MiB"

    rows: list[Row] = []
    for num_clients in NUM_CLIENTS:
        for name in (TORCH, ONNX):
            pairs = zip(found[served, num_clients], found[name, num_clients], strict=True)
            rows.append(Row(
                f"{served}: requests a second, {num_clients} client(s), beside {name}",
                [mine.requests_s / its.requests_s for mine, its in pairs], told(served, num_clients),
                told(name, num_clients),
                at_least=MIN_SPEEDUP if (name, num_clients) == (ONNX, NUM_CLIENTS[-1]) else None,
            ))  # fmt: skip
    if (alone := (ALONE.format(served), NUM_CLIENTS[-1])) in found:
        pairs = zip(found[served, NUM_CLIENTS[-1]], found[alone], strict=True)
        rows.append(Row(
            f"{served}: requests a second, {NUM_CLIENTS[-1]} clients, rows together beside one row a call",
            [mine.requests_s / its.requests_s for mine, its in pairs], told(served, NUM_CLIENTS[-1]), told(*alone),
            at_least=1.0,
        ))  # fmt: skip
    for name in (TORCH, ONNX):
        ratios = [mine / its for mine, its in zip(ready_s[served], ready_s[name], strict=True)]
        mine, peer = (f"{median(ready_s[one]):.1f} s" for one in (served, name))
        rows.append(Row(f"{served}: until it is ready, beside {name}", ratios, mine, peer))
    return rows


def flood(service: Running, texts: list[str], *, per_request: int, rate: float, seconds: float) -> str:
    """Ask for more than it can bear; tell what was answered, and how soon it is itself again."""
    found = ask(service, texts, rate=rate, per_request=per_request, seconds=seconds)
    over, recovered_s = time.perf_counter(), 0.0
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=30) as client:
        while client.post("/classify", json={"texts": texts[:1]}).status_code != 200:
            time.sleep(0.02)
        recovered_s = time.perf_counter() - over
    answered: list[str] = []
    for status, one in sorted(found["statuses"].items()):
        times = ", ".join(f"{name} {one[name]:.0f} ms" for name in ("p50", "p99", "max", "p99 since it was sent"))
        answered.append(f"{one['num']:.0f} got {status} ({times})")
    return (
        f"{TIMES} times more than it can bear, {per_request} text(s) a request: {found['num_asked']} requests, "
        f"{found['max_unsent']} of them late; {'; '.join(answered)}; recovered within {recovered_s + 2:.1f} s"
    )


def soak(service: Running, texts: list[str], *, num_requests: int, rate: float) -> str:
    """Tell its memory after each tenth of the requests."""
    memory = [service.rss_mib()]
    for _ in range(10):
        ask(service, texts, num_clients=NUM_CLIENTS[-1], seconds=num_requests / 10 / rate)
        memory.append(service.rss_mib())
    return f"soak of about {num_requests} requests, MiB: {', '.join(f'{one:.0f}' for one in memory)}"


if __name__ == "__main__":
    main()
