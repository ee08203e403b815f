"""package: bundle the model with what serves it, and prove the bundle by serving it.

Reads the compressed model and its golden requests, the reports of evaluate and compress, evaluate's page, the data
set's card and the verdict on it, and the digests in dvc.lock. Writes `bundle/`: the package `serving`, the model and
what its predictor needs, a model card, the golden requests that were asked, `model.json` (what the model is) and
`manifest.json` (every file). What a second run of the same work would not repeat (the commit, run ids, speeds, when
and where) is `provenance.json`, an observation, which is built into the Bento beside it. The bundle is registered with
the float weights, from which a later training can start.
"""

import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from components.package.bento import build_bento, remove_bento, serving, tag_of
from components.package.bundle import write_bundle
from components.package.gates import Drop
from components.package.smoke import Golden, Join, Parity, ask, read_golden
from components.params import Package
from components.plumbing.artifacts import artifact, observations, project, read_json, recipe_name, write_json
from components.plumbing.errors import ModelyardError, ParityError
from components.tracking.tracker import Tracker
from serving.bundle import PROVENANCE, identify
from serving.tasks import endpoint_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    recipe: str = recipe_name()
    project: Path = project()
    card: Path = artifact("ingest/card.json")
    verdict: Path = artifact("validate/verdict.json")
    weights: Path = artifact("finetune/model/")
    evaluated: Path = artifact("evaluate/report.json")
    page: Path = artifact("evaluate/results/report.html")
    model: Path = artifact("compress/model/")
    results: Path = artifact("compress/results/")
    compressed: Path = artifact("compress/report.json")


@dataclass(frozen=True)
class Outputs:
    bundle: Path = artifact("bundle/")
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    tag: str
    """The Bento's: the recipe, and the first 12 digits of the version and of the build."""
    digest: str
    """The model's version: the sha256 of model.json, which says what was trained, compressed and measured."""
    build: str
    """The bundle's digest: the sha256 of manifest.json, which names that of each file of the model and the service."""
    num_files: int
    size_bytes: int
    """The size, in bytes, of all files of the bundle."""
    num_golden: int
    """The number of golden requests that the served bundle was asked."""
    num_other: int
    """The number of answers that differ otherwise than in a number: 0, or the gate would not have passed."""
    max_difference: float
    """The largest difference between a number of a served answer and the same number of the measured model's."""
    batch_size: int
    """The most rows of a call of the model. Where there are several, the golden requests were also asked joined to
    larger ones, and every answer was the one that was given alone."""


def run(params: Package, inputs: Inputs, outputs: Outputs, *, tracker: Tracker, drop: Drop) -> Report:
    """Write the bundle, serve it, ask it the golden requests, and register it.

    `drop` is the task's. ParityError where the served bundle answers otherwise than the measured model.
    """
    golden = read_golden(inputs.results / "golden.json", limit=params.num_golden)
    batch_size = read_json(inputs.compressed)["batch_size"]
    write_bundle(
        outputs.bundle,
        recipe=inputs.recipe,
        model=inputs.model,
        golden=golden,
        serving=params.serving,
        project=inputs.project,
        reports={name: read_json(getattr(inputs, name)) for name in ("card", "verdict", "evaluated", "compressed")},
        drop=drop,
        page=inputs.page,
    )
    provenance = outputs.observations / PROVENANCE
    speeds = inputs.project / "observations" / inputs.recipe / "compress" / "speeds.json"
    write_json(provenance, {"tag": tag_of(outputs.bundle), **provenance_of(tracker, speeds)})
    tag = build_bento(outputs.bundle, provenance)
    try:
        parity = prove(tag, golden, params, outputs, tracker=tracker, is_batched=batch_size > 1)
    except ParityError:
        remove_bento(tag)
        raise
    tracker.log_file(provenance)
    registered = tracker.register_model(outputs.bundle, weights=inputs.weights)
    if registered["version"]:
        logger.info("%s is version %s of %s (%s)", tag, registered["version"], registered["name"], registered["alias"])
    identity = identify(outputs.bundle)
    files = [path for path in outputs.bundle.rglob("*") if path.is_file()]
    return Report(
        tag=tag,
        digest=identity.version,
        build=identity.build,
        num_files=len(files),
        size_bytes=sum(path.stat().st_size for path in files),
        num_golden=len(golden),
        num_other=parity.num_other,
        max_difference=parity.max_difference,
        batch_size=batch_size,
    )


def provenance_of(tracker: Tracker, speeds: Path) -> dict[str, Any]:
    """Return the commit, the MLflow runs, the measured speeds (None where the file is gone), the time, and the kind of
    machine."""
    return {
        **tracker.provenance(),
        "speeds": read_json(speeds) if speeds.is_file() else None,
        "packaged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": processor_name(),
            "num_cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
    }


def processor_name() -> str:
    """Return the processor's model, as the system names it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def prove(
    tag: str, golden: list[Golden], params: Package, outputs: Outputs, *, tracker: Tracker, is_batched: bool
) -> Parity:
    """Serve a Bento, ask it the golden requests, and return how its answers compare.

    ParityError where it does not start, does not answer, or answers otherwise than the gate allows.
    """
    log = outputs.observations / "serve.log"
    try:
        with serving(tag, ready_timeout_s=params.ready_timeout_s, log=log) as served:
            tracker.log_metrics({"ready_s": served.ready_s, "server_rss_bytes": served.rss_bytes}, step=0)
            logger.info("%s was ready in %.1f s, with %.0f MB", tag, served.ready_s, served.rss_bytes / 1e6)
            parity = ask(served.url, golden, join=joiner(params) if is_batched else None)
    except ParityError:
        raise
    except ModelyardError as error:
        raise ParityError(str(error), report={"tag": tag, "error": str(error)}) from error
    finally:
        tracker.log_file(log)
    judge(tag, parity, params)
    return parity


def joiner(params: Package) -> Join:
    """Return the function that joins requests within the limits of the service."""
    endpoint = endpoint_of(params.serving.task)
    limits = endpoint.Limits(**params.serving.model_dump(mode="json", exclude={"task"}))
    return lambda requests: endpoint.joined(requests, limits)


def judge(tag: str, parity: Parity, params: Package) -> None:
    """Raise ParityError where answers differ by more than `package.max_difference`, or otherwise than in a number, or
    where they depend on what is asked with them."""
    report: Mapping[str, object] = {"tag": tag, **asdict(parity)}
    again = f"modelyard run {tag.partition(':')[0]} --force compress"
    mend = f"run compress again on this kind of machine: '{again}'"
    if parity.num_other:
        raise ParityError(
            f"{tag} answers {parity.num_other} golden requests otherwise than the measured model: {parity.examples}; "
            f"{mend}",
            report=report,
        )
    if parity.max_difference > params.max_difference:
        raise ParityError(
            f"{tag} differs by {parity.max_difference:g} in a number from the measured model "
            f"(package.max_difference {params.max_difference:g}): {parity.examples}; {mend}",
            report=report,
        )
    if parity.num_changed:
        raise ParityError(
            f"{tag} answers {parity.num_changed} requests otherwise when they are joined with others, which it did not "
            f"in compress; {mend}",
            report=report,
        )
