import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.monitoring.windows import Window, read_window
from components.plumbing.errors import InputError

START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def line(number: int, **more: Any) -> str:
    row = {
        "request_id": f"r{number}", "item": 0, "items": 1, "time": (START + timedelta(seconds=number)).isoformat(),
        "route": "/classify", "input": f"text {number}", "length": 6, "version": "aaaaaaaaaaaa", "latency_ms": 2.5,
        "output": {"label": "positive", "scores": {"negative": 0.25, "positive": 0.75}}, "status": 200,
    }  # fmt: skip
    return json.dumps(row | more)


def right(number: int, label: str, *, after: int = 1, item: int = 0) -> str:
    time = (START + timedelta(hours=after)).isoformat()
    return json.dumps({"request_id": f"r{number}", "item": item, "label": label, "note": None, "time": time})


def write(folder: Path, name: str, *lines: str, end: str = "\n") -> None:
    (folder / name).write_text("\n".join(lines) + end, encoding="utf-8")


def window_of(folder: Path, *, last: int = 100, since: datetime | None = None, newest: int = 10) -> Window:
    window = read_window(folder, last=last, since=since, newest=newest)
    assert window is not None
    return window


def test_newest_rows_come_in_their_order_from_all_files(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", *(line(number) for number in range(5)))
    write(tmp_path, "traffic-2.jsonl", *(line(number) for number in range(5, 8)))
    window = window_of(tmp_path, last=4)
    assert [row.request_id for row in window.rows] == ["r4", "r5", "r6", "r7"]
    assert window.rows[0].input == "text 4"
    assert window.rows[0].output["scores"] == {"negative": 0.25, "positive": 0.75}
    assert window.rows[0].time == START + timedelta(seconds=4)


def test_half_a_line_and_an_empty_file_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", line(0), line(1)[:70], end="")
    write(tmp_path, "traffic-2.jsonl", line(2))
    (tmp_path / "traffic-3.jsonl").write_bytes(b"")
    write(tmp_path, "traffic-4.jsonl", line(3)[:9], end="")
    assert [row.request_id for row in window_of(tmp_path).rows] == ["r0", "r2"]


def test_what_the_page_asks_of_its_own_is_no_traffic(tmp_path: Path) -> None:
    write(
        tmp_path, "traffic-1.jsonl", line(0, purpose=None), line(1, purpose="words"), line(2), line(3, purpose="probe")
    )
    window = window_of(tmp_path)
    assert [row.request_id for row in window.rows] == ["r0", "r2"]
    assert window.num_requests.total() == len(window.latencies_ms) == 2


def test_since_leaves_out_what_was_earlier(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", *(line(number) for number in range(9)))
    assert len(window_of(tmp_path, since=START + timedelta(seconds=6)).rows) == 3
    assert read_window(tmp_path, last=9, since=START + timedelta(days=1), newest=9) is None


def test_version_that_answers_most_is_watched(tmp_path: Path) -> None:
    old = [line(number, version="bbbbbbbbbbbb") for number in range(20)]
    new = [line(number) for number in range(20, 40)]
    shadow = [line(number, version="cccccccccccc") for number in range(40, 43)]
    write(tmp_path, "traffic-1.jsonl", *old, *new, *shadow)
    window = window_of(tmp_path, newest=10)
    assert window.version == "aaaaaaaaaaaa"
    assert len(window.rows) == 20


def test_feedback_joins_and_its_newest_word_counts(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", line(0), line(1), line(1, item=1), line(2))
    write(
        tmp_path, "feedback-1.jsonl", right(0, "negative", after=2), right(0, "positive"), right(1, "negative", item=1)
    )
    rows = window_of(tmp_path).rows
    assert [row.actual for row in rows] == ["negative", None, "negative", None]
    hours = [row.told and (row.told - START) / timedelta(hours=1) for row in rows]
    assert hours == [2, None, 1, None]


def test_id_that_came_twice_has_its_feedback_on_the_newer(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", line(0), line(0, time=(START + timedelta(seconds=9)).isoformat()))
    write(tmp_path, "feedback-1.jsonl", right(0, "negative"))
    assert [row.actual for row in window_of(tmp_path).rows] == [None, "negative"]


def test_failed_requests_count_as_requests_only(tmp_path: Path) -> None:
    failed = [line(3, status=503, input=None, output=None, length=None, **more) for more in ({}, {"requests": 40})]
    write(tmp_path, "traffic-1.jsonl", line(0), line(1), line(1, item=1), *failed, line(4))
    window = window_of(tmp_path)
    assert len(window.rows) == 4
    assert window.num_requests == {200: 3, 503: 41}
    assert window.latencies_ms == [2.5, 2.5, 2.5]


def test_hash_is_no_input(tmp_path: Path) -> None:
    write(tmp_path, "traffic-1.jsonl", line(0, input="sha256:" + "0" * 64), line(1, input="sha256: a film"),
          line(2, input=[1, 2.5]))  # fmt: skip
    assert [row.input for row in window_of(tmp_path).rows] == [None, "sha256: a film", [1, 2.5]]


def test_no_log_is_no_window(tmp_path: Path) -> None:
    assert read_window(tmp_path / "nowhere", last=9, since=None, newest=9) is None


def test_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "traffic-1.jsonl").mkdir()
    (tmp_path / "traffic-1.jsonl" / "x").write_text("")
    with pytest.raises(InputError, match=r"traffic log .* cannot be read"):
        read_window(tmp_path, last=9, since=None, newest=9)
