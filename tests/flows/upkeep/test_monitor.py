"""modelyard monitor, on the log that a tiny model's service would leave."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from components.monitoring.causes import causes_file, comes_to_a_verdict, hand_claim_to, last_end, why_not
from components.monitoring.traffic_log import traffic_environment, traffic_folder
from components.plumbing.artifacts import md5_of, read_json, sha256_of, write_json
from components.plumbing.errors import (
    ArtifactError,
    InputError,
    ModelyardError,
    PromotionError,
    SourceError,
    StoreError,
    TimeLimitError,
)
from components.plumbing.processes import identity
from components.recipes import load_recipe
from components.tracking.registry import CHAMPIONS as PROMOTED
from components.tracking.store import Store
from flows.cli import cli
from flows.pipeline.stage import StageError
from flows.upkeep.monitor import Outcome, monitor_recipe, start_retrain
from serving.bundle import MANIFEST, MODEL, identify
from serving.tasks.text_classification.predictor import Predictor
from tests.hooks import listening, webhook
from tests.prefect_client import found_by_prefect
from tests.projects import edit, run
from tests.tiny import MOODS, tiny_rows
from tests.tiny_model import finish, write_split

# pygtrie of dvc 3.67, when an output is added to a graph
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")

FILMS = [text for text, _ in tiny_rows(700)[300:]]
OTHERS = [f"{mood} {thing} " * 3 for thing in ("stew", "soup", "bread", "cake", "tea") for moods in MOODS.values()
          for mood in moods]  # fmt: skip


@pytest.fixture(scope="module")
def made(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged project whose training split tells what its model has learned from."""
    root = Path(shutil.copytree(packaged, tmp_path_factory.mktemp("monitor") / "project"))
    edit(root, "tiny.monitoring.num_permutations", 1199)
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        run(command, root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    Store(root, "tiny")  # its tables are made once, and copied
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def serve(
    root: Path, texts: list[str], *, day: int, actual: Callable[[str], str] | None = None, version: str = ""
) -> None:
    """Leave the log of a service that was asked these texts, and the feedback on its answers."""
    bundle = root / "artifacts/tiny/package/bundle"
    predictor = Predictor.load(bundle, threads=1)
    version = version or read_json(root / "artifacts/tiny/package/report.json")["digest"][:12]
    folder = traffic_folder(root, "tiny")
    folder.mkdir(parents=True, exist_ok=True)
    traffic: list[dict[str, Any]] = []
    feedback: list[dict[str, Any]] = []
    for number, (text, answer) in enumerate(zip(texts, predictor.answers(predictor.predict(texts)), strict=True)):
        known = {
            "request_id": f"d{day}n{number}", "item": 0,
            "time": (datetime(2026, 11, day, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
        }  # fmt: skip
        more = {"items": 1, "route": "/classify", "version": version, "latency_ms": 3.0, "status": 200}
        traffic.append({**known, "input": text, "length": len(text), "output": answer, **more})
        if actual:
            feedback.append({**known, "label": actual(text), "note": None})
    for kind, lines in (("traffic", traffic), ("feedback", feedback)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{kind}-202611{day:02d}.jsonl").write_text(text)


def mood_of(text: str) -> str:
    return next(label for label, moods in MOODS.items() if any(mood in text.split() for mood in moods))


class Retrain:
    """Remembers what was started, and has it come to a verdict at once."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def __call__(self, root: Path, name: str) -> str:
        self.started.append(name)
        with comes_to_a_verdict(root, name, cause="drift") as end:
            end.state, end.why = "promoted", "it is better"
        return "started"


def watch(root: Path, retrain: Retrain, **options: Any) -> Outcome:
    return monitor_recipe(root, "tiny", start=retrain, **options)


def test_more_of_the_same_is_steady(project: Path) -> None:
    serve(project, FILMS, day=1)
    retrain = Retrain()
    outcome = watch(project, retrain)
    assert (outcome.verdict.state, list(outcome.verdict.reasons)) == ("steady", [])
    assert {finding.detector for finding in outcome.verdict.findings} == {
        "length", "vocabulary", "unknown", "domain", "labels", "scores"
    }  # fmt: skip
    assert retrain.started == []
    page = outcome.report.read_text(encoding="utf-8")
    assert "steady" in page
    assert page.count("<svg") >= 4
    assert not re.search(r"(src|href)=\W?http|url\(\W?http|<script|@import", page)
    assert read_json(outcome.report.with_name("verdict.json"))["num_rows"] == len(FILMS)
    told = read_json(next(outcome.report.parents[3].glob(".modelyard/traffic/*/verdict.json")))  # the service tells it
    assert (told["state"], told["num_rows"]) == (outcome.verdict.state, len(FILMS))
    assert not {"findings", "service"} & set(told)
    (seen,) = Store(project, "tiny").search("tags.`modelyard.stage` = 'monitor'")
    assert seen.info.status == "FINISHED"
    assert seen.data.tags["modelyard.verdict"] == "steady"
    assert seen.data.metrics["domain_auc"] == pytest.approx(0.5, abs=0.1)


def test_other_texts_are_drift_and_start_one_retraining(project: Path) -> None:
    serve(project, OTHERS, day=1, actual=mood_of)
    retrain = Retrain()
    outcome = watch(project, retrain)
    assert outcome.verdict.state == "drift"
    assert {finding.detector for finding in outcome.verdict.findings if finding.is_alarm} >= {"domain", "vocabulary"}
    assert (outcome.retrain, retrain.started) == ("started", ["tiny"])
    learned = pq.read_table(project / "data/feedback/tiny.parquet")
    assert outcome.num_learned == learned.num_rows == len(OTHERS)
    assert (project / "data/feedback/tiny.parquet.dvc").is_file()
    again = watch(project, retrain)
    assert again.verdict.state == "drift"
    assert again.num_learned == 0
    assert "cool-down" in again.retrain
    assert retrain.started == ["tiny"]


def test_what_the_contract_does_not_allow_is_not_learned_and_said(project: Path) -> None:
    long = 3 * (OTHERS[0] + " ") + "x" * 2000
    serve(project, [*OTHERS, "", long], day=1, actual=lambda text: mood_of(text or OTHERS[0]))
    outcome = watch(project, Retrain())
    assert outcome.left_out.startswith(f"2 of {len(OTHERS) + 2} rows with feedback are left out: ")
    assert outcome.left_out in outcome.said
    assert outcome.num_learned == pq.read_metadata(project / "data/feedback/tiny.parquet").num_rows == len(OTHERS)


def test_feedback_that_is_cut_off_comes_back_as_it_is_said(project: Path) -> None:
    edit(project, "tiny.monitoring.retrain", False)
    serve(project, OTHERS, day=1, actual=mood_of)
    watch(project, Retrain())
    learned = project / "data/feedback/tiny.parquet"
    whole = learned.read_bytes()
    learned.unlink()  # DVC may have linked it
    learned.write_bytes(whole[:200])
    with pytest.raises(SourceError, match=r"tiny.parquet cannot be read") as found:
        watch(project, Retrain())
    advice = re.findall(r"'(dvc checkout .*?)'", str(found.value))
    run(advice[0].split(), project)
    assert learned.read_bytes() == whole
    assert watch(project, Retrain()).verdict.state == "drift"


def test_one_cause_starts_one_retraining_also_after_the_cool_down(project: Path) -> None:
    edit(project, "tiny.monitoring.cool_down_s", 0)
    serve(project, OTHERS, day=1)
    retrain = Retrain()
    watch(project, retrain)
    assert "was retrained for drift already, and only 0 rows" in watch(project, retrain).retrain
    serve(project, OTHERS, day=2, actual=mood_of)  # feedback, which there was none of
    assert watch(project, retrain, last=100).retrain == "started"
    assert len(retrain.started) == 2


def test_retraining_that_could_not_start_may_start_later(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(project, OTHERS, day=1)
    monkeypatch.setattr("flows.upkeep.monitor.modelyard", lambda *_: [str(project / "nothing")])
    with pytest.raises(OSError, match="nothing"):
        monitor_recipe(project, "tiny", start=start_retrain)
    retrain = Retrain()
    watch(project, retrain)
    assert retrain.started == ["tiny"]


def test_retraining_under_way_is_not_started_twice_and_a_killed_one_is_started_again(project: Path) -> None:
    serve(project, OTHERS, day=1)
    with subprocess.Popen(["sleep", "60"]) as process:

        def start(root: Path, name: str) -> str:
            hand_claim_to(root, name, identity(psutil.Process(process.pid)))
            return "started"

        assert monitor_recipe(project, "tiny", start=start).retrain == "started"
        retrain = Retrain()
        assert watch(project, retrain).retrain == "no retraining: one is under way"
        process.kill()
    assert watch(project, retrain).retrain == "started"


def test_recipe_that_wants_none_is_not_retrained(project: Path) -> None:
    edit(project, "tiny.monitoring.retrain", False)
    serve(project, OTHERS, day=1)
    retrain = Retrain()
    assert "monitoring.retrain is false" in watch(project, retrain).retrain
    assert retrain.started == []


def test_few_rows_are_not_judged(project: Path) -> None:
    serve(project, OTHERS, day=1)
    outcome = watch(project, Retrain(), last=99)
    assert outcome.verdict.state == "too few"
    assert "99 rows are fewer than monitoring.min_rows 100" in outcome.verdict.notes[-1]


def test_other_labels_alone_are_told_what_may_stand_behind_them(project: Path) -> None:
    serve(project, [text for text, mood in tiny_rows(700)[300:] if mood == "negative"], day=1)
    assert any("monitoring.expected_labels names the mix" in note for note in watch(project, Retrain()).verdict.notes)
    edit(project, "tiny.monitoring.expected_labels", {"negative": 0.9, "positive": 0.1})
    assert not any("expected_labels" in note for note in watch(project, Retrain()).verdict.notes)


def test_since_chooses_the_window(project: Path) -> None:
    serve(project, OTHERS, day=1)
    serve(project, FILMS, day=2)
    assert watch(project, Retrain(), since=datetime(2026, 11, 2, tzinfo=UTC)).verdict.state == "steady"
    assert watch(project, Retrain(), last=500).verdict.state == "drift"
    with pytest.raises(InputError, match="no answered request since 2027"):
        watch(project, Retrain(), since=datetime(2027, 1, 1, tzinfo=UTC))


def test_hashes_leave_the_lengths_and_the_answers(project: Path) -> None:
    serve(project, OTHERS, day=1, actual=mood_of)
    path = traffic_folder(project, "tiny") / "traffic-20261101.jsonl"
    rows = [json.loads(line) | {"input": "sha256:" + "0" * 64} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = watch(project, Retrain())
    assert {finding.detector for finding in outcome.verdict.findings} == {"length", "labels", "scores"}
    assert "the log keeps hashes" in outcome.verdict.notes[0]
    assert outcome.num_learned == 0


def test_slow_service_is_degraded(project: Path) -> None:
    edit(project, "tiny.monitoring.limits.max_p95_ms", 1.0)
    serve(project, FILMS, day=1)
    retrain = Retrain()
    outcome = watch(project, retrain)
    assert outcome.verdict.state == "degraded"
    assert "latency p95 is 3 ms, above 1 ms" in outcome.verdict.reasons[0]
    assert retrain.started == []


def test_log_of_a_version_that_is_gone_is_named(project: Path) -> None:
    serve(project, FILMS, day=1, version="0123456789ab")
    with pytest.raises(InputError, match="written by tiny:0123456789ab, which is neither"):
        watch(project, Retrain())


def promote_made_from(root: Path, splits: Path) -> str:
    """Leave the project's bundle, as made from these splits, where promotion keeps it; gives its version."""
    bundle = Path(shutil.copytree(root / "artifacts/tiny/package/bundle", root / PROMOTED / "tiny" / "bundle"))
    model = read_json(bundle / MODEL)
    outs = {f"artifacts/tiny/preprocess/{path.name}": md5_of(path) for path in splits.glob("*.parquet")}
    model["made_from"]["preprocess"]["outs"] = outs
    write_json(bundle / MODEL, model)
    manifest = read_json(bundle / MANIFEST)
    manifest["files"][MODEL] = sha256_of(bundle / MODEL)
    write_json(bundle / MANIFEST, manifest)
    identity = identify(bundle)
    bundle.rename(bundle.with_name(identity.label))
    return identity.version[:12]


def test_promoted_version_is_compared_with_its_own_splits_wherever_dvc_keeps_them(project: Path) -> None:
    preprocess, earlier = project / "artifacts/tiny/preprocess", project / "data/earlier"
    shutil.copytree(preprocess, earlier, ignore=lambda *_: ["predictor"])
    version = promote_made_from(project, earlier)
    run(["dvc", "cache", "dir", "--local", str(project.parent / "cache")], project)
    run(["dvc", "add", "-q", str(earlier)], project)
    shutil.rmtree(earlier)
    for split in ("train", "validation"):  # of the next version
        write_split(preprocess / f"{split}.parquet", [(text, "negative") for text in OTHERS], range(len(OTHERS)))
    finish(preprocess, {})
    serve(project, FILMS, day=1, version=version)
    assert watch(project, Retrain()).verdict.state == "steady"
    shutil.rmtree(project.parent / "cache")
    gone = watch(project, Retrain()).verdict
    assert gone.state == "drift"
    assert "the present ones stand in" in gone.notes[0]


def test_command_ends_with_3_on_drift_and_says_why(project: Path) -> None:
    edit(project, "tiny.monitoring.retrain", False)
    serve(project, OTHERS, day=1)
    edit(project, "tiny.notify", {"team": webhook("drift")})
    with listening() as hook:
        done = run(["python", "-m", "flows.cli", "--project", str(project), "monitor", "tiny", "--json"],
                   Path.cwd(), check=False, HOOK=hook.url)  # fmt: skip
    assert done.returncode == 3, done.stderr
    data = json.loads(done.stdout)
    (told,) = hook.got
    assert (told["event"], told["where"]) == ("drift", "modelyard monitor tiny")
    assert all(reason in told["verdict"] for reason in data["reasons"])
    (seen,) = Store(project, "tiny").search("tags.`modelyard.stage` = 'monitor'")
    assert told["run_id"] == seen.info.run_id
    assert data["state"] == "drift"
    assert any("a classifier tells the window" in reason for reason in data["reasons"])


def test_bad_time_and_missing_log_are_refused(project: Path) -> None:
    found = CliRunner().invoke(cli, ["--project", str(project), "monitor", "tiny", "--since", "yesterday"])
    assert isinstance(found.exception, InputError)
    assert "--since is 'yesterday'" in str(found.exception)
    with pytest.raises(InputError, match="has no answered request; serve it with"):
        watch(project, Retrain())


def test_recipe_without_the_section_is_told_so(project: Path) -> None:
    edit(project, "tiny.monitoring", None)
    with pytest.raises(InputError, match="no section 'monitoring'"):
        watch(project, Retrain())


def test_cause_is_the_version_and_what_there_is_to_learn(project: Path) -> None:
    params = load_recipe(project, "tiny").monitoring
    assert params is not None
    now = datetime(2026, 11, 22, tzinfo=UTC)
    over = {"at": (now - timedelta(days=2)).isoformat(), "process": None}
    causes = {"v1": over}
    old, new = now - timedelta(days=3), now - timedelta(days=1)
    assert why_not({}, "v1", params, now=now, told_at=[]) == ""
    assert "only 99 rows" in why_not(causes, "v1", params, now=now, told_at=[old] * 50 + [new] * 99)
    assert why_not(causes, "v1", params, now=now, told_at=[new] * 100) == ""
    assert why_not(causes, "v2", params, now=now, told_at=[old] * 50) == ""
    assert "cool-down" in why_not(causes, "v2", params, now=now - timedelta(hours=36), told_at=[new] * 500)
    assert why_not({"v1": over | {"process": "1:1"}}, "v1", params, now=now, told_at=[]) == ""  # it was killed


def test_only_a_retraining_with_a_verdict_counts_and_how_each_ended_is_kept(project: Path) -> None:
    path = causes_file(project, "tiny")
    path.parent.mkdir(parents=True)
    failed_gate, away = StageError("evaluate@tiny: below\nthe bar"), StageError("the MLflow store cannot be reached")
    failed_gate.exit_code, away.is_transient = 3, True
    for error, is_over, why in (
        (None, True, "it is better"),
        (PromotionError("worse", report={}), True, "worse"),
        (failed_gate, True, "evaluate@tiny: below the bar"),
        (StoreError("gone"), False, "gone"),
        (away, False, "the MLflow store cannot be reached"),
        (TimeLimitError("too long"), False, "too long"),
        (ZeroDivisionError(), False, "ZeroDivisionError"),
    ):
        path.write_text(json.dumps({"causes": {"v1": {"at": "", "process": "1:1"}}}))
        with suppress(ModelyardError, ZeroDivisionError), comes_to_a_verdict(project, "tiny", cause="drift") as end:
            if error is not None:
                raise error
            end.state, end.why = "promoted", why
        assert (read_json(path)["causes"]["v1"]["process"] is None) == is_over
        last = last_end(project, "tiny")
        assert last is not None
        assert (last.cause, last.state, last.why) == ("drift", "stopped" if error else "promoted", why)
        assert datetime.now(UTC) - datetime.fromisoformat(last.at) < timedelta(minutes=1)


@pytest.mark.long
def test_how_a_retraining_that_promoted_nothing_ended_is_said(project: Path) -> None:
    serve(project, OTHERS, day=1)

    def stop(root: Path, name: str) -> str:
        with suppress(StageError), comes_to_a_verdict(root, name, cause="drift"):
            raise StageError("validate@tiny: expected texts of 1 to 2000 characters")
        return "started"

    first = monitor_recipe(project, "tiny", start=stop)
    assert (first.retrain, first.ended) == ("started", "")
    path = causes_file(project, "tiny")
    memory = read_json(path)
    memory["last"]["at"] = "2026-11-22T13:00:59.123456+00:00"
    write_json(path, memory)
    expected = (
        "the last retraining (drift, 2026-11-22 13:00 UTC): stopped: validate@tiny: expected texts of 1 to 2000 "
        "characters"
    )  # fmt: skip
    again = watch(project, Retrain())
    assert again.ended == expected
    assert expected in again.said
    done = run(["python", "-m", "flows.cli", "--project", str(project), "monitor", "tiny"], Path.cwd(), check=False)
    assert expected in " ".join(done.stdout.split())
    serve(project, FILMS, day=2)
    assert watch(project, Retrain()).ended == expected
    Retrain()(project, "tiny")  # one that promotes
    assert watch(project, Retrain()).ended == ""


@pytest.mark.parametrize("content", ['{"causes": {"v1": ', "[]", "{}", '{"causes": {"v1": 1}}'])
def test_broken_memory_of_retrainings_is_named_with_what_mends_it(project: Path, content: str) -> None:
    serve(project, OTHERS, day=1)
    path = causes_file(project, "tiny")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"tiny.json is not .*; delete it: what is lost is which drift"):
        watch(project, Retrain())
    path.unlink()
    assert watch(project, Retrain()).retrain == "started"


@pytest.mark.long
def test_scheduled_run_says_what_it_saw_and_looks_only_at_what_is_new(project: Path, prefect_api: str) -> None:
    edit(project, "tiny.monitoring.retrain", False)
    code = "from flows.upkeep.monitor import monitor; s = monitor('tiny', return_state=True); print(s.name, s.message)"
    command = [sys.executable, "-c", code]

    def seen() -> str:
        return run(command, project, PREFECT_API_URL=prefect_api).stdout

    assert seen().startswith("Nothing new the traffic log of tiny")
    serve(project, FILMS, day=1)
    assert seen().startswith("Steady steady")
    assert "nothing was asked and nothing was told since" in seen()
    asked = {"limit": 200, "artifacts": {"key": {"any_": ["tiny-monitor"]}}}
    artifacts = found_by_prefect(prefect_api, "artifacts", asked)
    page = f"`{project / 'observations/tiny/monitor/report.html'}`"
    (shown,) = [one for one in artifacts if page in one["data"]]  # of the run that judged, not of the two others
    assert shown["data"].startswith("steady")
    serve(project, OTHERS, day=2)
    assert "no retraining: monitoring.retrain is false" in seen()


def test_service_is_told_where_to_log(project: Path) -> None:
    found = traffic_environment(project, "tiny", load_recipe(project, "tiny"))
    assert found["MODELYARD_TRAFFIC"] == str(project / ".modelyard/traffic/tiny")
    assert found["MODELYARD_TRAFFIC_INPUT"] in ("text", "hash")
