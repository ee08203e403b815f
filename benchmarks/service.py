"""A served bundle under load, beside the two services that one would write by hand for the same model.

    python benchmarks/service.py [--recipe movie_sentiment] [--seconds 8] [--rounds 3] [--soak 0] [--routed]

The two: FastAPI with transformers (torch, fp32) and FastAPI with ONNX Runtime (the bundle's own int8 model), both with
their libraries' defaults. Same machine, same rows (the bundle's golden requests, one text each), one after another in
each round; the client is a process of its own and costs about 0.1 ms a request. Requests/s are the median of rounds.
Then, ours alone: ten times more texts than it answered, sent whether or not it answers (an open loop), in requests of
one text and of 16; how soon it is itself again; and with --soak N, its memory over N requests. With --routed ours is
behind its router and logs its traffic, as 'modelyard up' serves it.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from components.plumbing.environment import QUIET
from results import Row, Section, show, stop

ROOT = Path(__file__).parent.parent
OURS, TORCH, ONNX = "modelyard", "FastAPI, torch fp32", "FastAPI, onnxruntime int8"
NUM_CLIENTS = (1, 32)
TIMES = 10  # more than it can bear
FLOODS = (1, 16)  # texts of a request
READY_TIMEOUT_S = 120
MAX_CONNECTIONS = 4000
OUR_SETTINGS = {"TOKENIZERS_PARALLELISM": QUIET["TOKENIZERS_PARALLELISM"]}  # as 'modelyard serve' sets them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="movie_sentiment", help="of texts, with a bundle")
    parser.add_argument("--project", type=Path, default=ROOT, help="where the artifacts are")
    parser.add_argument("--bundle", type=Path, default=None, help="another bundle of the recipe")
    parser.add_argument("--weights", type=Path, default=None, help="another folder of its float weights")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=0, help="requests of the soak")
    parser.add_argument("--routed", action="store_true", help="ours as 'modelyard up' serves it")
    parser.add_argument("--plain", choices=["torch", "onnx"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    args = parser.parse_args()
    artifacts: Path = args.project / "artifacts" / args.recipe
    bundle: Path = args.bundle or artifacts / "package" / "bundle"
    weights: Path = args.weights or artifacts / "finetune" / "model"
    if args.plain:
        serve_plain(args.plain, bundle, weights, port=args.port)
    elif args.client:
        sys.stdout.write(json.dumps(asyncio.run(load(**json.loads(args.client)))))
    elif not bundle.is_dir():
        stop(
            f"artifacts/{args.recipe} has no bundle: 'modelyard run {args.recipe}' makes it, or --project names another"
        )
    else:
        compare(args, bundle.resolve(), weights.resolve())


# The two services by hand, as their libraries' documentation shows them.


def serve_plain(kind: str, bundle: Path, weights: Path, *, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Request(BaseModel):
        texts: list[str]

    class Answer(BaseModel):
        label: str
        scores: dict[str, float]

    settings = json.loads((bundle / "predictor.json").read_text(encoding="utf-8"))
    labels: list[str] = settings["labels"]
    score = (torch_scores if kind == "torch" else onnx_scores)(bundle, weights, settings["max_tokens"])
    app = FastAPI()

    def classify(request: Request) -> list[Answer]:
        rows = score(request.texts)
        return [Answer(label=labels[row.index(max(row))], scores=dict(zip(labels, row, strict=True))) for row in rows]

    def readyz() -> None:
        pass

    app.post("/classify")(classify)
    app.get("/readyz")(readyz)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


Score = Callable[[list[str]], list[list[float]]]


def torch_scores(bundle: Path, weights: Path, max_tokens: int) -> Score:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(weights)
    model: Any = AutoModelForSequenceClassification.from_pretrained(weights).eval()

    def score(texts: list[str]) -> list[list[float]]:
        with torch.inference_mode():
            rows = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
            return torch.softmax(model(**rows).logits, -1).tolist()

    return score


def onnx_scores(bundle: Path, weights: Path, max_tokens: int) -> Score:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])

    def score(texts: list[str]) -> list[list[float]]:
        rows = tokenizer.encode_batch(texts)
        given = {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        }
        logits = np.asarray(session.run(["logits"], given)[0])
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        return (exponents / exponents.sum(-1, keepdims=True)).tolist()

    return score


# The client.


class Connection(asyncio.Protocol):
    """One connection that is kept; `answered` gets the status and the seconds of each request."""

    transport: asyncio.Transport

    def __init__(self, answered: "Callable[[Connection, int, float], None]") -> None:
        self.answered, self.buffer, self.asked_at = answered, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes, at: float) -> None:
        """`at` is when the request was due: what a client waits for a connection counts."""
        self.asked_at, self.buffer = at, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(body) >= length:
                self.answered(self, int(head[9:12]), time.perf_counter() - self.asked_at)


async def load(
    *, port: int, texts: list[str], per_request: int, seconds: float, num_clients: int = 0, rate: float = 0.0
) -> dict[str, Any]:
    """Ask: `num_clients` that each wait for their answer, or `rate` requests a second, whatever comes back."""
    requests = [request_of([texts[(i + k) % len(texts)] for k in range(per_request)]) for i in range(len(texts))]
    found: list[tuple[int, float]] = []
    idle: list[Connection] = []
    started, loop, number = time.perf_counter(), asyncio.get_running_loop(), 0

    def next_request() -> bytes:
        nonlocal number
        number += 1
        return requests[number % len(requests)]

    def answered(connection: Connection, status: int, took_s: float) -> None:
        found.append((status, took_s))
        if rate:
            idle.append(connection)
        elif time.perf_counter() - started < seconds:
            connection.ask(next_request(), time.perf_counter())

    for _ in range(num_clients or min(MAX_CONNECTIONS, max(64, int(rate)))):
        _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
        idle.append(connection)
    started, num_due, waiting = time.perf_counter(), 0, 0
    if not rate:
        for connection in list(idle):
            connection.ask(next_request(), time.perf_counter())
        await asyncio.sleep(seconds)
    while rate and (now := time.perf_counter() - started) < seconds:
        while num_due < now * rate and idle:
            idle.pop().ask(next_request(), started + num_due / rate)
            num_due += 1
        waiting = max(waiting, int(now * rate) - num_due)
        await asyncio.sleep(0.001)
    elapsed_s, in_time = time.perf_counter() - started, len(found)
    await asyncio.sleep(2.0)  # what is still on its way
    return {
        "elapsed_s": elapsed_s, "in_time": in_time, "num_asked": number, "client_s": time.process_time(),
        "max_unsent": waiting, "statuses": {str(status): latencies(found, status) for status in {s for s, _ in found}},
    }  # fmt: skip


def request_of(texts: Sequence[str]) -> bytes:
    body = json.dumps({"texts": texts}).encode()
    head = (
        f"POST /classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def latencies(found: Sequence[tuple[int, float]], status: int) -> dict[str, float]:
    """Milliseconds."""
    took = sorted(1000 * took_s for seen, took_s in found if seen == status)
    return {
        "num": len(took),
        "p50": took[len(took) // 2],
        "p99": took[min(len(took) - 1, int(0.99 * len(took)))],
        "max": took[-1],
    }


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


def compare(args: argparse.Namespace, bundle: Path, weights: Path) -> None:
    section = Section("service")
    golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    texts: list[str] = [text for one in golden for text in one["request"]["texts"]]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("BENTOML_HOME", str(Path(scratch) / "bentoml"))
        commands = commands_of(bundle, weights)
        if args.routed:
            commands[OURS] = routed(args.recipe, bundle, Path(scratch) / "project")
        found: dict[tuple[str, int], list[Measured]] = {}
        ready_s: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                with running(command, Path(scratch) / "log") as service:
                    ready_s[name].append(service.ready_s)
                    ask(service, texts, num_clients=4, seconds=1.0)  # warms up
                    for num_clients in NUM_CLIENTS:
                        one = measure(service, texts, num_clients=num_clients, seconds=args.seconds)
                        found.setdefault((name, num_clients), []).append(one)
        rows, notes = rows_of(found, ready_s), list[str]()
        show(rows)
        can_bear = median(one.requests_s for one in found[OURS, NUM_CLIENTS[-1]])
        with running(commands[OURS], Path(scratch) / "log") as service:
            for per_request in FLOODS:
                rate = TIMES * can_bear / per_request
                notes.append(flood(service, texts, per_request=per_request, rate=rate, seconds=args.seconds))
            if args.soak:
                notes.append(soak(service, texts, num_requests=args.soak, rate=can_bear))
        sys.stdout.write("\n".join(notes) + "\n")
        section.record(rows, notes=notes)


def commands_of(bundle: Path, weights: Path) -> dict[str, Callable[[int], list[str]]]:
    """What starts each service on a port."""
    from components.package.bento import build_bento, serve_command

    tag = build_bento(bundle, None)
    this = [sys.executable, str(Path(__file__).resolve()), "--bundle", str(bundle), "--weights", str(weights)]
    return {
        OURS: lambda port: serve_command(tag, "127.0.0.1", port),
        TORCH: lambda port: [*this, "--plain", "torch", "--port", str(port)],
        ONNX: lambda port: [*this, "--plain", "onnx", "--port", str(port)],
    }


def routed(recipe: str, bundle: Path, project: Path) -> Callable[[int], list[str]]:
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
def running(command: Callable[[int], list[str]], log: Path) -> Generator[Running]:
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
        [sys.executable, str(Path(__file__).resolve()), "--client", wanted], capture_output=True, text=True, check=True
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


def rows_of(found: dict[tuple[str, int], list[Measured]], ready_s: dict[str, list[float]]) -> list[Row]:
    """Ours over each of the others: requests a second, and what they cost."""

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
            pairs = zip(found[OURS, num_clients], found[name, num_clients], strict=True)
            ratios = [mine.requests_s / its.requests_s for mine, its in pairs]
            rows.append(Row(
                f"requests a second, {num_clients} client(s), beside {name}", ratios, told(OURS, num_clients),
                told(name, num_clients),
            ))  # fmt: skip
    for name in (TORCH, ONNX):
        ratios = [mine / its for mine, its in zip(ready_s[OURS], ready_s[name], strict=True)]
        ours, peer = (f"{median(ready_s[one]):.1f} s" for one in (OURS, name))
        rows.append(Row(f"until it is ready, beside {name}", ratios, ours, peer))
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
        times = ", ".join(f"{name} {one[name]:.0f} ms" for name in ("p50", "p99", "max"))
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
