import json
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from serving.log.record import COUNTED_S
from serving.log.segments import TRAFFIC, paths_of
from tests.flows.router.routing import Router, make_version, routing
from tests.slow import SLOW, hanging


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Generator[Router]:
    """A router that the tests share; each serves versions of its own."""
    with routing(tmp_path_factory.mktemp("router")) as router:
        yield router


def test_no_request_is_lost_or_fails_during_three_swaps(router: Router) -> None:
    first = router.serve(delay_s=0.02)
    done = threading.Event()
    labels: Counter[str] = Counter()
    later: list[str] = []

    def client(_: int) -> int:
        asked = 0
        with httpx.Client(timeout=30) as session:
            while not done.is_set():
                response = session.post(f"{router.url}/classify", json={"texts": ["a"]})
                assert response.status_code == 200, response.text
                labels[response.json()[0]["label"]] += 1
                asked += 1
        return asked

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        try:
            for _ in range(3):
                later.append(router.serve(delay_s=0.02))
                time.sleep(0.2)
        finally:
            done.set()
        asked = sum(one.result() for one in clients)
    assert asked == labels.total() > 20
    assert set(labels) == {first, *later}
    router.wait_for_bentos(1)  # the old ones are gone


def test_old_version_finishes_what_it_has_before_it_is_stopped(router: Router) -> None:
    first = router.serve(delay_s=4.0)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(router.label)
        time.sleep(0.3)
        second = router.serve()
        assert router.label() == second
        assert not slow.done()
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
    time.sleep(0.6)
    assert "has no digest, tag, bundle" in router.read("state")["refused"]["reason"]
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
    response = httpx.post(f"{router.url}/crash")
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


def is_listening(router: Router) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(router.url.rpartition(":")[2]))) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_router_that_is_asked_to_end_finishes_what_it_accepted(tmp_path: Path, number: int) -> None:
    log = tmp_path / "asked.jsonl"
    with routing(tmp_path) as router, ThreadPoolExecutor(4) as pool:
        router.serve(delay_s=3.0, log=str(log))
        bento = psutil.Process(router.read("state")["serving"]["pid"])
        accepted = [pool.submit(router.label) for _ in range(4)]
        while not log.exists() or log.read_text().count("\n") < 4:
            time.sleep(0.02)
        router.process.send_signal(number)
        while is_listening(router):
            time.sleep(0.02)
        assert not any(one.done() for one in accepted)
        assert [one.result() for one in accepted] == ["1"] * 4
        assert router.process.wait(timeout=20) == 0
        assert not bento.is_running()
        assert not (tmp_path / "state.json").exists()


def stream(router: Router) -> list[tuple[float, float]]:
    """When each event was sent, and when it came."""
    events: list[tuple[float, float]] = []
    with httpx.stream("POST", f"{router.url}/generate", timeout=10) as response:
        for line in response.iter_lines():
            if line:
                events.append((float(line.split()[2]), time.time()))
    return events


def test_streamed_answer_is_not_kept_back_and_outlives_a_swap(router: Router) -> None:
    router.serve()
    with ThreadPoolExecutor(1) as pool:
        events = pool.submit(stream, router)
        time.sleep(0.1)
        second = router.name("champion")
        assert len(events.result()) == 4
        assert events.result()[0][1] < events.result()[-1][0]  # the first had come before the last was sent
        router.wait_for_version(second)


def test_answer_that_breaks_off_does_not_look_whole(router: Router) -> None:
    router.serve()
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{router.url}/broken")


def test_requests_and_answers_pass_as_they_are(router: Router) -> None:
    router.serve()
    url = f"{router.url}/echo%2F..?a=%20b&c="
    assert httpx.get(url).status_code == 404  # the path was not changed on its way
    response = httpx.put(
        f"{router.url}/echo?a=%20b&c=", content="body", headers={"X-Own": b"\xc3\xa9", "X-Modelyard-Shadow": b"guess"}
    )
    seen = response.json()
    assert response.status_code == 201
    assert response.headers.get_list("x-twice") == ["1", "2"]
    assert seen["target"] == "/echo?a=%20b&c="
    assert seen["body"] == "body"
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["x-own"].encode("latin-1") == b"\xc3\xa9"
    assert headers["host"] == router.url.removeprefix("http://")
    assert "x-modelyard-shadow" not in headers
    head = httpx.head(f"{router.url}/echo")
    assert head.status_code == 201
    assert int(head.headers["content-length"]) > 0
    assert "aiohttp" not in str(head.headers)


def test_request_beyond_the_limit_is_refused_and_one_within_it_passes(router: Router) -> None:
    router.serve()
    assert httpx.post(f"{router.url}/echo", content=b"a" * 2**20).status_code == 201
    assert httpx.post(f"{router.url}/echo", content=b"a" * (2**20 + 1)).status_code == 413
    parts = (b"a" * 2**18 for _ in range(8))
    assert httpx.post(f"{router.url}/echo", content=parts).status_code == 413
    large = router.folder / "large"
    large.write_bytes(b"b" * 2**19)
    done = subprocess.run(
        ["curl", "-s", "-m", "5", "-H", "Expect: 100-continue", "--data-binary", f"@{large}", f"{router.url}/echo"],
        capture_output=True, text=True, check=True,
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
        give_up_at = time.monotonic() + 10
        while num_open():
            assert time.monotonic() < give_up_at, router.log()
            time.sleep(0.05)
    router.wait_for_bentos(1)
    with hanging(address, SLOW["half a header"], 1) as (head,), hanging(address, SLOW["half a body"], 1) as (body,):
        assert [one.recv(100).startswith(b"HTTP/1.1 408 ") for one in (head, body)] == [True, True]


def test_champion_that_is_full_is_not_asked_again_at_once(router: Router, tmp_path: Path) -> None:
    log = tmp_path / "asked.jsonl"
    router.serve(status=503, full_ms=1000, log=str(log))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: router.ask(), range(80)))
        assert httpx.get(f"{router.url}/echo").status_code == 201  # only the model is full
    assert not any("Modelyard-Full" in answer.headers for answer in answers)
    assert {answer.status_code for answer in answers} == {503}
    assert "overloaded" not in router.ask(**{"Modelyard-Purpose": "words"}).text  # which the Bento judges itself
    asked = -1 + len(log.read_text().splitlines())
    turned_away = [answer for answer in answers if "overloaded" in answer.text]
    assert all(answer.headers["Retry-After"] == "1" for answer in turned_away)
    assert asked + len(turned_away) == 80
    assert turned_away
    time.sleep(COUNTED_S + 0.5)
    files = paths_of(router.folder / "traffic", TRAFFIC)
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert sum(line["requests"] for line in lines) == len(turned_away)
    assert {(line["route"], line["status"]) for line in lines} == {("/classify", 503)}
    router.ask()
    assert len(log.read_text().splitlines()) == asked + 2


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
        give_up_at = time.monotonic() + 30
        while not seen["after"]:
            assert time.monotonic() < give_up_at, router.log()
            assert asking.is_alive()
            time.sleep(0.02)
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
    give_up_at = time.monotonic() + 30
    while not (untaken := router.read("state").get("untaken")):
        assert time.monotonic() < give_up_at, router.log()
        time.sleep(0.02)
    assert untaken == {"build": build, "tag": f"tiny:{number}-again", "reason": "the disk is full"}
    assert router.label() == "before"
    (router.folder / "refusal.txt").unlink()
    while router.label() != "after":
        assert time.monotonic() < give_up_at, router.log()
    assert router.wait("state", "untaken", None)["serving"]["build"] == build
