"""The closed loop on real data: a model of film snippets is served and asked about films, then about shop goods,
editorials and tweets. Drift is seen, feedback arrives, the worker trains again, and the better model is served.
"""

import copy
import csv
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.monitoring.detectors import detect
from components.monitoring.reference import read_reference
from components.monitoring.texts import TextInputs
from components.package.bento import free_port
from components.params import RegistrySource
from components.promotion.ledger import entries, verify
from components.recipes import load_recipe, load_yaml
from components.sources import fetch
from flows.servers.records import records, stop
from tests.patience import PATIENCE_S, wait_until
from tests.prefect_client import found_by_prefect
from tests.projects import ROOT, edit, make_project, run, write_params
from tests.tiny import make_tiny_encoder

OTHERS = ("amazonReviewSnippets", "nytEditorialSnippets", "tweets")
WINDOW = 1500
BATCH = 100  # texts in a request
A_YEAR = {"cron": "0 0 1 1 *", "timezone": "UTC", "limit_s": 1800}  # so that it runs when it is asked to

Snippets = list[tuple[str, str]]
"""Texts and their labels."""


def snippets(name: str, root: Path, folder: Path) -> Snippets:
    """One file of the archive that movie_sentiment reads, with the labels that its query gives."""
    source = load_recipe(ROOT, "movie_sentiment").ingest.source
    assert isinstance(source, RegistrySource)
    member = (*source.member[:-1], f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    path = fetch(source.model_copy(update={"member": member}), root=root, folder=folder / name).paths[0]
    with path.open(encoding="utf-8", newline="") as file:
        rated = [(text, float(rating)) for _, rating, text in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return [(text, "positive" if rating > 0 else "negative") for text, rating in rated if abs(rating) >= 0.5]


def small_recipe() -> dict[str, Any]:
    """movie_sentiment with a small encoder, its rows told apart by where they are from."""
    recipe: dict[str, Any] = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])
    recipe["ingest"] |= {
        "query": recipe["ingest"]["query"]
        .replace("END AS label\n", "END AS label, 'film' AS domain\n")
        .replace("text, label FROM feedback", "text, label, 'served' AS domain FROM feedback"),
        "feedback": "data/feedback/film.parquet",
    }
    recipe["validate"]["contract"]["columns"] |= {"domain": "string"}
    recipe["preprocess"] |= {"tokenizer": {"kind": "file", "path": "encoder"}, "slice": "domain"}
    recipe["pretrain"] |= {"source": {"kind": "file", "path": "encoder"}}
    recipe["finetune"] |= {"epochs": 6, "batch_size": 32, "precision": "fp32", "way": {"name": "full", "freeze": []}}
    recipe["finetune"]["optimizer"] |= {"learning_rate": 2.0e-3}
    recipe["finetune"]["early_stopping"] |= {"patience": 6}
    recipe["evaluate"]["gate"] |= {"min": 0.6, "min_gain": -0.5}
    recipe["compress"]["gate"] = {"max_drop": 0.05, "min_speedup": 0.01, "max_size_ratio": 10.0}
    recipe["package"] |= {"ready_timeout_s": 60}
    recipe["promotion"] |= {"then": "trial"}
    recipe["promotion"]["slices"] |= {"by": ["slice"]}
    recipe["promotion"]["latency"] |= {"max_ratio": 20.0}  # the tests share the machine
    recipe["monitoring"] |= {"window": WINDOW, "cool_down_s": 0, "schedule": A_YEAR}
    recipe["monitoring"]["limits"] |= {"max_p95_ms": None}
    recipe["service"]["canary"] |= {
        "share": 1.0, "requests": 20, "min_agreement": 0.3, "max_error_rate": 0.1, "max_latency_ratio": 20.0,
    }  # fmt: skip
    recipe["schedule"] = None
    return recipe


@pytest.fixture
def project(tmp_path: Path) -> Generator[tuple[Path, dict[str, Snippets], dict[str, str]]]:
    """A project with the recipe `film`, snippets of other domains, and the environment of its commands."""
    root = make_project(tmp_path / "project")
    films, *others = (snippets(name, root, tmp_path) for name in ("movieReviewSnippets", *OTHERS))
    make_tiny_encoder(root / "another", [text for text, _ in films], hidden_size=64, num_layers=1, vocab_size=6000)
    (root / "encoder").rename(root / "tiny")
    (root / "another").rename(root / "encoder")
    write_params(root, {"film": small_recipe()})
    with ExitStack() as stack:
        stack.callback(lambda: [stack.callback(stop, root, record) for record in records(root).values()])
        yield root, dict(zip(OTHERS, others, strict=True)), {"BENTOML_HOME": str(tmp_path / "bentos")}


def ask(address: str, rows: Snippets, *, tell: bool = False) -> float:
    """Ask the service about these texts, `tell` it the right labels if so; gives its accuracy."""
    right = 0
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            answer = client.post("/classify", json={"texts": [text for text, _ in some]}).raise_for_status()
            right += sum(one["label"] == label for one, (_, label) in zip(answer.json(), some, strict=True))
            for item, (_, label) in enumerate(some if tell else []):
                feedback = {"request_id": answer.headers["X-Request-Id"], "item": item, "label": label}
                client.post("/feedback", json=feedback).raise_for_status()
    return right / len(rows)


def monitor(root: Path, num_rows: int, **extra: str) -> dict[str, Any]:
    return json.loads(run(["modelyard", "monitor", "film", "--last", str(num_rows), "--json"], root, **extra).stdout)


def num_alarms(root: Path, texts: Sequence[str], *, num_windows: int, num_rows: int) -> int:
    """In how many windows of some of these texts a detector sounds."""
    params, artifacts = load_recipe(root, "film").monitoring, root / "artifacts/film"
    assert params is not None
    reference = read_reference(
        artifacts / "package/bundle",
        TextInputs(),
        train=artifacts / "preprocess/train.parquet",
        validation=artifacts / "preprocess/validation.parquet",
        kept=root / "validation-scores.parquet",
        max_rows=2000,
        seed=0,
    )
    scores = reference.predictor.predict(list(texts))
    found = 0
    for seed in range(num_windows):
        chosen = np.random.default_rng(seed).choice(len(texts), num_rows, replace=False)
        window = [texts[index] for index in chosen]
        mine = params.model_copy(update={"seed": seed, "num_permutations": 1199})
        findings = detect(window, [len(text) for text in window], scores[chosen], reference, mine)
        found += any(finding.is_alarm for finding in findings)
    return found


def wait_for(is_there: Callable[[], bool], root: Path, *, within_s: float) -> None:
    log = root / ".modelyard/logs/worker.log"
    wait_until(is_there, lambda: log.read_text()[-5000:], within_s=within_s, every_s=1)


def run_of_monitor(api: str) -> tuple[str, str]:
    """Type and name of the newest run's state; that it is scheduled, before the first began."""
    began = {"start_time": {"is_null_": False}}  # coming runs are written ahead
    given = {"flows": {"name": {"any_": ["monitor"]}}, "flow_runs": began, "sort": "START_TIME_DESC", "limit": 1}
    found = found_by_prefect(api, "flow_runs", given)
    return (found[0]["state_type"], found[0]["state_name"]) if found else ("SCHEDULED", "Scheduled")


def is_served(root: Path, address: str, number: int) -> bool:
    """Whether the service answers with the registry's version `number`."""
    named = root / ".modelyard/champions/film.json"
    champion = json.loads(named.read_text()) if named.is_file() else {"version": 1, "digest": ""}
    served = httpx.get(f"{address}/status", timeout=PATIENCE_S).json()["version"]
    return champion["version"] == number and champion["digest"].startswith(served)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_drift_is_seen_learned_and_served(project: tuple[Path, dict[str, Snippets], dict[str, str]]) -> None:
    root, others, extra = project
    run(["modelyard", "run", "film"], root, **extra)
    port, mlflow_port, prefect_port = free_port(), free_port(), free_port()
    address, api = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prefect_port}/api"
    edit(root, "film.service.port", port)
    up = {"MODELYARD_MLFLOW_PORT": str(mlflow_port), "MODELYARD_PREFECT_PORT": str(prefect_port)}
    run(["modelyard", "up"], root, **extra, **up)

    test = pq.read_table(root / "artifacts/film/preprocess/test.parquet").to_pydict()
    ask(address, list(zip(test["text"], test["label"], strict=True)))
    seen = monitor(root, len(test["text"]), **extra)
    assert (seen["state"], seen["reasons"]) == ("steady", [])
    assert num_alarms(root, test["text"], num_windows=100, num_rows=100) <= 2

    mixed = [row for rows in others.values() for row in rows]
    mixed = [mixed[index] for index in np.random.default_rng(0).permutation(len(mixed))]
    labelled, new_domain = mixed[:WINDOW], mixed[WINDOW : 2 * WINDOW]
    before = ask(address, new_domain)
    ask(address, labelled, tell=True)
    run(["prefect", "deployment", "run", "monitor/film"], root, **extra, PREFECT_API_URL=api)
    wait_for(lambda: run_of_monitor(api)[0] not in ("SCHEDULED", "PENDING", "RUNNING"), root, within_s=900)
    assert run_of_monitor(api) == ("COMPLETED", "Drift")
    assert not is_served(root, address, 2)  # it is on trial

    def is_promoted() -> bool:
        ask(address, new_domain[:20])
        return is_served(root, address, 2)

    wait_for(is_promoted, root, within_s=300)
    assert ask(address, new_domain) > before + 0.02
    adopted, promoted = entries(root, "film")
    assert (adopted["action"], promoted["action"]) == ("adopt", "promote")
    assert promoted["through"] == "promote, its trial on requests"
    assert promoted["figures"]["worst_slice"] in ("slice film", "slice served")  # the gate judged each by itself
    assert verify(root) == []
    causes = json.loads((root / ".modelyard/monitoring/film.json").read_text())["causes"]
    assert [cause["process"] for cause in causes.values()] == [None]
