import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from flows.router.trial import RequestTrial, Rules, TimedAnswer, labels_of
from tests.flows.router.routing import Router, routing
from tests.patience import wait_until

RULES = {
    "mode": "shadow",
    "share": 1.0,
    "requests": 10,
    "min_agreement": 0.8,
    "max_error_rate": 0.1,
    "max_latency_ratio": 3.0,
}


def answer(*labels: str, status: int = 200, seconds: float = 0.01) -> TimedAnswer:
    return TimedAnswer(status, json.dumps([{"label": label} for label in labels]).encode(), seconds)


def trial(**changes: object) -> RequestTrial:
    return RequestTrial(Rules(**{**RULES, **changes}))  # pyright: ignore[reportArgumentType]


def test_labels_are_found_wherever_they_are() -> None:
    assert labels_of(b'[{"label": "a", "scores": {"b": 1}}, {"label": "c"}]') == ["a", "c"]
    assert labels_of(b'{"answers": [{"label": 1}, {"x": {"label": 2}}]}') == [1, 2]
    assert labels_of(b'{"text": "label"}') == labels_of(b"not JSON") == labels_of(b"[" * 100_000) == []


def test_alike_challenger_passes_after_the_last_request() -> None:
    seen = trial()
    for number in range(10):
        assert seen.verdict() == "running", number
        seen.record(answer("a"), answer("a"))
    assert seen.verdict() == "passed"
    assert seen.agreement == 1.0


def test_agreement_is_the_mean_share_of_labels_by_request() -> None:
    seen = trial(requests=3)
    seen.record(answer("a", "b", "c", "d"), answer("a", "b", "c", "x"))
    seen.record(answer("a"), answer("a"))
    assert seen.agreement == pytest.approx((0.75 + 1) / 2)
    seen.record(answer("a"), answer("b"))
    assert seen.agreement == pytest.approx(1.75 / 3)
    assert seen.verdict() == "failed"
    assert "58.3% of the labels of 3 requests are the champion's (min_agreement 0.8)" in str(seen.regression())


def test_verdict_does_not_wait_for_what_cannot_be_mended() -> None:
    seen = trial()
    seen.record(answer("a"), answer("b"))
    seen.record(answer("a"), answer("b"))
    assert seen.verdict() == "running"  # eight of ten may still agree
    seen.record(answer("a"), answer("b"))
    assert seen.verdict() == "failed"
    seen = trial()
    seen.record(answer("a"), answer(status=500))
    assert seen.verdict() == "running"
    seen.record(answer("a"), TimedAnswer(0, b"", 1.0))
    assert seen.verdict() == "failed"
    assert "2 of 2 requests failed that the champion answered" in str(seen.regression())


def test_request_that_both_fail_does_not_count() -> None:
    seen = trial(requests=1)
    seen.record(answer(status=503), answer(status=503))
    assert (seen.requests, seen.both_failed, seen.verdict()) == (0, 1, "running")
    seen.record(answer(status=503), answer("a"))  # which speaks for the challenger
    assert (seen.requests, seen.errors, seen.compared) == (1, 0, 0)


def test_another_status_is_no_agreement() -> None:
    seen = trial(requests=1)
    seen.record(answer("a"), answer(status=400))
    assert seen.verdict() == "failed"


def test_slower_challenger_fails() -> None:
    seen = trial()
    for _ in range(10):
        seen.record(answer("a", seconds=0.01), answer("a", seconds=0.031))
    assert "its median latency is 3.10 of the champion's (max_latency_ratio 3)" in str(seen.regression())


def test_answers_without_labels_are_judged_without_them_only_where_that_is_said() -> None:
    for min_agreement, verdict in ((None, "passed"), (0.5, "failed")):
        seen = trial(requests=1, min_agreement=min_agreement)
        seen.record(TimedAnswer(200, b"", 0.1), TimedAnswer(200, b"", 0.1))
        assert seen.verdict() == verdict


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Router]:
    with routing(tmp_path_factory.mktemp("router")) as router:
        yield router


@pytest.fixture
def router(shared: Router) -> Generator[Router]:
    """A router without a challenger."""
    yield shared
    for name in ("challenger.json", "refusal.txt"):
        (shared.folder / name).unlink(missing_ok=True)
    shared.wait_for_bentos(1)
    (shared.folder / "verdict.json").unlink(missing_ok=True)


def rule(router: Router, **changes: object) -> None:
    (router.folder / "rules.json").write_text(json.dumps(RULES | changes))


def logged(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_shadow_is_promoted_after_its_requests_and_nobody_waited_for_it(router: Router, tmp_path: Path) -> None:
    log, leave = tmp_path / "asked.jsonl", tmp_path / "leave"
    rule(router, requests=4, max_latency_ratio=1e6)
    first = router.serve(label="same")
    second = router.name("challenger", label="same", until=str(leave), log=str(log))
    router.wait("verdict", "state", "running")
    for _ in range(4):
        assert router.ask(**{"X-Request-Id": "one"}).json()[0]["label"] == "same"
    leave.touch()  # until then, the challenger answers nothing
    verdict = router.wait("verdict", "state", "promoted")
    assert verdict["version"] == second
    assert verdict["agreement"] == 1.0
    assert verdict["requests"] == verdict["wanted"] == 4
    assert verdict["champion"] == {"version": first, "digest": f"digest{first}"}
    assert router.read("state")["serving"]["version"] == second
    assert {one["shadow"] for one in logged(log)} == {"secret"}
    compared = logged(router.folder / f"comparisons/digest{second}.jsonl")
    assert len(compared) == 4
    assert compared[0]["request_id"] == "one"
    assert compared[0]["champion"]["labels"] == compared[0]["challenger"]["labels"] == ["same"]
    router.wait_for_bentos(1)  # the challenger's Bento is the champion's now
    router.ask()
    assert logged(log)[-1]["shadow"] == ""


@pytest.mark.parametrize(
    ("spec", "max_latency_ratio", "reason"),
    [
        ({"label": "other"}, 1e6, "of the labels"),
        ({"label": "same", "status": 500}, 1e6, "requests failed that the champion answered"),
        ({"label": "same", "delay_s": 0.3}, 1.5, "its median latency is"),
        ({"label": "same", "dies": True}, 1e6, "it will not start"),
    ],
)
@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_worse_challenger_is_dropped_and_no_client_gets_an_error(
    router: Router, spec: dict[str, Any], max_latency_ratio: float, reason: str, mode: str
) -> None:
    rule(router, mode=mode, max_latency_ratio=max_latency_ratio)
    first = router.serve(label="same")
    second = router.name("challenger", **spec)
    statuses: list[int] = []

    def is_dropped() -> bool:
        statuses.append(router.ask().status_code)
        return router.read("verdict").get("state") == "failed"

    wait_until(is_dropped, router.log)
    assert set(statuses) == {200}
    assert reason in router.read("verdict")["reason"]
    assert router.label() == "same"
    time.sleep(0.6)
    assert (router.read("verdict")["version"], router.read("verdict")["state"]) == (second, "failed")  # tried once
    assert router.read("state")["challenger"] is None
    assert router.read("state")["serving"]["version"] == first


def test_canary_is_really_served_and_promoted(router: Router, tmp_path: Path) -> None:
    log = tmp_path / "asked.jsonl"
    rule(router, mode="canary", min_agreement=0.0, max_latency_ratio=1000.0)
    router.serve(log=str(log))
    second = router.name("challenger")
    router.wait("verdict", "state", "running")
    assert [router.label() for _ in range(4)] == [second] * 4
    for _ in range(20):
        router.ask()
    assert router.wait("verdict", "state", "promoted")["agreement"] == 0.0
    assert [one["shadow"] for one in logged(log)][:4] == ["secret"] * 4


def test_challenger_that_promotion_refuses_is_dropped(router: Router) -> None:
    rule(router, requests=2, max_latency_ratio=1000.0)
    (router.folder / "refusal.txt").write_text("worse on the held-out rows")
    first = router.serve(label="same")
    router.name("challenger", label="same")
    router.wait("verdict", "state", "running")
    for _ in range(3):
        router.ask()
        time.sleep(0.1)
    assert router.wait("verdict", "state", "not promoted")["reason"] == "worse on the held-out rows"
    assert router.read("state")["serving"]["version"] == first


def test_challenger_that_is_withdrawn_is_stopped(router: Router) -> None:
    rule(router)
    router.serve()
    router.name("challenger")
    router.wait("verdict", "state", "running")
    router.wait_for_bentos(2)
    (router.folder / "challenger.json").unlink()
    router.wait("verdict", "state", "withdrawn")
    router.wait_for_bentos(1)
    assert router.ask().status_code == 200  # by the champion, which went on


def test_another_build_of_the_champion_does_not_end_a_trial(router: Router) -> None:
    rule(router, requests=1000, min_agreement=0.0, max_latency_ratio=1000.0)
    number = router.serve(label="before")
    router.name("challenger", label="before")
    router.wait("verdict", "state", "running")
    router.package(number, label="after")
    wait_until(lambda: router.label() == "after", router.log)
    time.sleep(0.6)  # in which the router looks twice
    assert router.read("verdict")["state"] == "running"
    router.wait_for_bentos(2)


def test_challenger_whose_service_failed_is_tried_again_in_another_build(router: Router) -> None:
    rule(router, requests=1000, min_agreement=0.0, max_latency_ratio=1000.0)
    router.serve(label="same")
    number = router.name("challenger", is_changed=True)
    router.wait("verdict", "state", "failed")
    router.package(number, "challenger", label="same")
    assert router.wait("verdict", "state", "running")["version"] == number
