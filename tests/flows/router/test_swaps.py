import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.log.segments import TRAFFIC, paths_of
from tests.flows.router.routing import Router, make_version, routing
from tests.patience import PATIENCE_S, wait_until
from tests.slow import SLOW, hanging


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Generator[Router]:
    """A router that the tests share; each serves versions of its own."""
    with routing(tmp_path_factory.mktemp("router")) as router:
        yield router


@contextmanager
def at_the_end(do: Callable[[], object]) -> Generator[None]:
    """Do it when the block ends, whatever becomes of it."""
    try:
        yield
    finally:
        do()


def test_no_request_is_lost_or_fails_during_three_swaps(router: Router) -> None:
    first = router.serve(delay_s=0.02)
    done = threading.Event()
    labels: list[str] = []
    later: list[str] = []

    def client(_: int) -> int:
        asked = 0
        with httpx.Client(timeout=PATIENCE_S) as session:
            while not done.is_set():
                asked += 1
                response = session.post(f"{router.url}/classify", json={"texts": ["a"]})
                assert response.status_code == 200, response.text
                labels.append(response.json()[0]["label"])
        return asked

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        try:
            for _ in range(3):
                wait_until(lambda: [first, *later][-1] in labels or any(one.done() for one in clients))
                later.append(router.serve(delay_s=0.02))
            wait_until(lambda: labels.count(later[-1]) > 20 or any(one.done() for one in clients))
        finally:
            done.set()
        asked = sum(one.result() for one in clients)
    assert asked == len(labels)
    assert set(labels) == {first, *later}
    router.wait_for_bentos(1)  # the old ones are gone


def test_old_version_finishes_what_it_has_before_it_is_stopped(router: Router, tmp_path: Path) -> None:
    log, leave = tmp_path / "asked.jsonl", tmp_path / "leave"
    first = router.serve(until=str(leave), log=str(log))
    with ThreadPoolExecutor(1) as pool, at_the_end(leave.touch):
        slow = pool.submit(router.label)
        wait_until(log.exists)
        second = router.serve()
        assert router.label() == second
        assert not slow.done()
        leave.touch()
        assert slow.result() == first


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"never_ready": True, "ready_timeout_s": 0.5}, "was not ready after 0.5 s"),
        ({"dies": True}, ".log: it will not start"),
        ({"is_changed": True}, "it is not the bundle that was promoted"),
    ],
)
def test_old_version_keeps_serving_where_the_new_one_cannot(router: Router, spec: dict, reason: str) -> None:
    first = router.serve()
    second = router.name("champion", **spec)
    state = router.wait("state", "state", "degraded")
    assert state["refused"]["version"] == second
    assert reason in state["refused"]["reason"]
    assert state["serving"]["version"] == first
    assert router.label() == first
    make_version(router.folder, int(second))  # mended: it is tried again
    assert router.wait("state", "state", "serving")["serving"]["version"] == second
    assert router.label() == second


def test_broken_champion_file_is_said_and_changes_nothing(router: Router) -> None:
    first = router.serve()
    (router.folder / "champion.json").write_text("{")
    assert "champion.json cannot be read" in router.wait("state", "state", "degraded")["refused"]["reason"]
    (router.folder / "champion.json").write_text('{"version": 2}')
    wait_until(lambda: "has no digest, tag, bundle" in router.read("state")["refused"]["reason"], router.log)
    assert router.label() == first


def test_first_champion_is_waited_for(tmp_path: Path) -> None:
    with routing(tmp_path) as router:
        router.wait("state", "state", "waiting")
        response = router.ask()
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "no model is served yet" in response.json()["error"]
        assert router.serve() == router.label() == "1"


def test_bento_that_ends_is_started_again(router: Router) -> None:
    first = router.serve()
    before = router.read("state")["crashes"]
    for crashes in (1, 2):
        pid = router.read("state")["serving"]["pid"]
        psutil.Process(pid).kill()
        router.wait("state", "crashes", before + crashes)
        state = router.wait("state", "state", "serving")
        assert state["serving"]["pid"] != pid
        assert router.label() == first


def test_request_that_its_bento_did_not_survive_is_told_to_come_again(router: Router) -> None:
    router.serve()
    response = httpx.post(f"{router.url}/crash", timeout=PATIENCE_S)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_last_good_version_is_started_again_where_the_champion_cannot_be(router: Router) -> None:
    first = router.serve()
    before = router.read("state")["crashes"]
    router.name("champion", dies=True)
    psutil.Process(router.wait("state", "state", "degraded")["serving"]["pid"]).kill()
    router.wait("state", "crashes", before + 1)
    assert router.wait("state", "state", "degraded")["serving"]["version"] == first
    assert router.label() == first


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_router_that_is_asked_to_end_finishes_what_it_accepted(tmp_path: Path, number: int) -> None:
    log, leave = tmp_path / "asked.jsonl", tmp_path / "leave"
    with routing(tmp_path) as router, ThreadPoolExecutor(4) as pool, at_the_end(leave.touch):
        router.serve(until=str(leave), log=str(log))
        bento = psutil.Process(router.read("state")["serving"]["pid"])
        accepted = [pool.submit(router.label) for _ in range(4)]
        wait_until(lambda: log.exists() and log.read_text().count("\n") == 4, router.log)
        router.process.send_signal(number)
        wait_until(lambda: not router.listens(), router.log)
        assert not any(one.done() for one in accepted)
        leave.touch()
        assert [one.result() for one in accepted] == ["1"] * 4
        assert router.process.wait(timeout=PATIENCE_S) == 0
        assert not bento.is_running()
        assert not (tmp_path / "state.json").exists()


def test_streamed_answer_is_not_kept_back_and_outlives_a_swap(router: Router, tmp_path: Path) -> None:
    leave = tmp_path / "leave"
    router.serve(until=str(leave))
    with httpx.stream("POST", f"{router.url}/generate", timeout=PATIENCE_S) as response, at_the_end(leave.touch):
        events = (line for line in response.iter_lines() if line)
        assert next(events) == "data: 0"  # the others are not sent yet
        router.serve()
        leave.touch()
        assert [*events] == ["data: 1", "data: 2", "data: 3"]


def test_answer_that_breaks_off_does_not_look_whole(router: Router) -> None:
    router.serve()
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{router.url}/broken", timeout=PATIENCE_S)


def test_requests_and_answers_pass_as_they_are(router: Router) -> None:
    router.serve()
    url = f"{router.url}/echo%2F..?a=%20b&c="
    assert httpx.get(url, timeout=PATIENCE_S).status_code == 404  # the path was not changed on its way
    response = httpx.put(
        f"{router.url}/echo?a=%20b&c=", content="body", headers={"X-Own": b"\xc3\xa9", "X-Modelyard-Shadow": b"guess"},
        timeout=PATIENCE_S,
    )  # fmt: skip
    seen = response.json()
    assert response.status_code == 201
    assert response.headers.get_list("x-twice") == ["1", "2"]
    assert seen["target"] == "/echo?a=%20b&c="
    assert seen["body"] == "body"
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["x-own"].encode("latin-1") == b"\xc3\xa9"
    assert headers["host"] == router.url.removeprefix("http://")
    assert "x-modelyard-shadow" not in headers
    head = httpx.head(f"{router.url}/echo", timeout=PATIENCE_S)
    assert head.status_code == 201
    assert int(head.headers["content-length"]) > 0
    assert "aiohttp" not in str(head.headers)


def test_request_beyond_the_limit_is_refused_and_one_within_it_passes(router: Router) -> None:
    router.serve()
    parts = (b"a" * 2**18 for _ in range(8))
    for content, status in ((b"a" * 2**20, 201), (b"a" * (2**20 + 1), 413), (parts, 413)):
        assert httpx.post(f"{router.url}/echo", content=content, timeout=PATIENCE_S).status_code == status
    large = router.folder / "large"
    large.write_bytes(b"b" * 2**19)
    done = subprocess.run(
        ["curl", "-s", "-H", "Expect: 100-continue", "--data-binary", f"@{large}", f"{router.url}/echo"],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert "b" * 100 in done.stdout


def test_clients_that_hang_keep_nobody_out_and_are_let_go(router: Router) -> None:
    router.serve(max_read_s=1.0)
    address = ("127.0.0.1", int(router.url.rpartition(":")[2]))
    process = psutil.Process(router.process.pid)

    def num_open() -> int:
        return sum(one.status == "ESTABLISHED" and one.laddr == address for one in process.net_connections("tcp"))

    with ExitStack() as stack:
        for kind, sent in SLOW.items():
            if kind != "idle":  # which is let go after IDLE_S
                stack.enter_context(hanging(address, sent, 15))
        assert router.ask().status_code == 200
        wait_until(lambda: not num_open(), router.log)
    router.wait_for_bentos(1)
    with hanging(address, SLOW["half a header"], 1) as (head,), hanging(address, SLOW["half a body"], 1) as (body,):
        assert [one.recv(100).startswith(b"HTTP/1.1 408 ") for one in (head, body)] == [True, True]


def test_champion_that_is_full_is_not_asked_again_at_once(router: Router, tmp_path: Path) -> None:
    log = tmp_path / "asked.jsonl"
    router.serve(status=503, full_ms=1000, log=str(log))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: router.ask(), range(80)))
        assert httpx.get(f"{router.url}/echo", timeout=PATIENCE_S).status_code == 201  # only the model is full
    assert not any("Modelyard-Full" in answer.headers for answer in answers)
    assert {answer.status_code for answer in answers} == {503}
    assert "overloaded" not in router.ask(**{"Modelyard-Purpose": "words"}).text  # which the Bento judges itself
    asked = -1 + len(log.read_text().splitlines())
    turned_away = [answer for answer in answers if "overloaded" in answer.text]
    assert all(answer.headers["Retry-After"] == "1" for answer in turned_away)
    assert asked + len(turned_away) == 80
    assert turned_away
    wait_until(lambda: sum(line["requests"] for line in traffic_of(router)) == len(turned_away))
    assert {(line["route"], line["status"]) for line in traffic_of(router)} == {("/classify", 503)}
    wait_until(lambda: "overloaded" not in router.ask().text)  # it is full for a second
    assert len(log.read_text().splitlines()) == asked + 2


def traffic_of(router: Router) -> list[dict[str, Any]]:
    files = paths_of(router.folder / "traffic", TRAFFIC)
    return [json.loads(line) for path in files for line in path.read_text().splitlines() if line.endswith("}")]


def test_packaged_build_of_the_champion_is_named_and_served_without_a_lost_request(router: Router) -> None:
    number = router.serve(label="before")
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen[router.ask().raise_for_status().json()[0]["label"]] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    build = router.package(number, label="after")
    try:
        wait_until(lambda: seen["after"] or not asking.is_alive(), router.log)
    finally:
        stop.set()
        asking.join()
    assert set(seen) == {"before", "after"}
    state = router.read("state")
    assert (state["state"], state["serving"]["version"], state["serving"]["build"]) == ("serving", number, build)
    router.wait_for_bentos(1)


def test_router_that_starts_serves_the_last_that_was_ready_where_the_champion_does_not_start(tmp_path: Path) -> None:
    with routing(tmp_path) as router:
        number = router.serve(label="before")
        router.package(number, "champion", is_changed=True)
        router.wait("state", "state", "degraded")
    with routing(tmp_path) as router:
        state = router.wait("state", "state", "degraded")
        router.wait_for_version(number)
        assert router.label() == "before"
        assert "it is not the bundle" in state["refused"]["reason"]
    (tmp_path / "served.json").unlink()
    with routing(tmp_path) as router:
        router.wait("state", "state", "down")
        answer = router.ask()
    assert (answer.status_code, "modelyard status" in answer.text, "bundle" in answer.text) == (503, True, False)


def test_build_that_does_not_start_leaves_the_one_before(router: Router) -> None:
    number = router.serve(label="before")
    build = router.package(number, is_changed=True)
    state = router.wait("state", "state", "degraded")
    assert state["refused"]["build"] == build
    assert router.label() == "before"


def test_packaged_build_that_promotion_does_not_name_is_told(router: Router) -> None:
    number = router.serve(label="before")
    (router.folder / "refusal.txt").write_text("the disk is full")
    build = router.package(number, label="after")
    untaken = wait_until(lambda: router.read("state").get("untaken"), router.log)
    assert untaken == {"build": build, "tag": f"tiny:{number}-again", "reason": "the disk is full"}
    assert router.label() == "before"
    (router.folder / "refusal.txt").unlink()
    wait_until(lambda: router.label() == "after", router.log)
    assert router.wait("state", "untaken", None)["serving"]["build"] == build
