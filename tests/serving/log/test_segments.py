import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.log.segments import Rotation, Segments, last_line_with, paths_of

LARGE = Rotation(max_bytes=10**6, max_age_s=3600, max_files=3)


def line(number: int, size: int = 10) -> bytes:
    return json.dumps({"id": str(number), "text": "x" * size}).encode() + b"\n"


def ids(folder: Path) -> list[int]:
    return [int(json.loads(row)["id"]) for path in paths_of(folder, "log") for row in path.read_bytes().splitlines()]


def test_a_record_is_in_the_file_once_append_returns(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "new" / "folder", kind="log", rotation=LARGE)
    assert segments.append(line(0))
    assert ids(tmp_path / "new" / "folder") == [0]
    assert (segments.state.written, segments.state.lost, segments.state.error) == (1, 0, None)


def test_what_a_killed_process_appended_is_there(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.log.segments import Rotation, Segments\n"
        "log = Segments(Path(sys.argv[1]), kind='log', rotation=Rotation(20000, 60, 1000))\n"
        "for n in range(10**9):\n"
        '    assert log.append(b\'{"id": "%d"}\\n\' % n); print(n, flush=True)'
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(500)]
    os.kill(process.pid, signal.SIGKILL)
    said += [int(row) for row in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()
    found = ids(tmp_path)
    assert set(said) <= set(found)
    assert len(found) == len(set(found))


def test_a_file_ends_at_its_size_and_the_oldest_go(tmp_path: Path) -> None:
    segments = Segments(tmp_path, kind="log", rotation=Rotation(max_bytes=250, max_age_s=3600, max_files=3))
    other = Segments(tmp_path, kind="other", rotation=LARGE)
    other.append(line(99))
    for number in range(40):
        assert segments.append(line(number, 50))
        time.sleep(0.001)
    assert len(paths_of(tmp_path, "log")) == 3
    assert all(path.stat().st_size <= 250 for path in paths_of(tmp_path, "log"))
    assert ids(tmp_path)[-1] == 39
    assert ids(tmp_path) == list(range(ids(tmp_path)[0], 40))
    assert len(paths_of(tmp_path, "other")) == 1


def test_a_file_ends_at_its_age(tmp_path: Path) -> None:
    segments = Segments(tmp_path, kind="log", rotation=Rotation(max_bytes=10**6, max_age_s=3600, max_files=9))
    segments.append(line(0))
    segments.append(line(1))
    segments.started -= 3601
    segments.append(line(2))
    assert [len(path.read_bytes().splitlines()) for path in paths_of(tmp_path, "log")] == [2, 1]


def test_a_deleted_file_is_replaced(tmp_path: Path) -> None:
    segments = Segments(tmp_path, kind="log", rotation=LARGE)
    segments.append(line(0))
    paths_of(tmp_path, "log")[0].unlink()
    assert segments.append(line(1))
    assert ids(tmp_path) == [1]


def test_a_full_disk_loses_records_and_nothing_else(tmp_path: Path) -> None:
    segments = Segments(tmp_path, kind="log", rotation=LARGE)
    segments.append(line(0))
    assert segments.file is not None
    kept = os.dup(segments.file)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, segments.file)
    assert not segments.append(line(1))
    assert not segments.append(line(2))
    assert segments.state.lost == 2
    assert "no space left" in str(segments.state.error)
    os.dup2(kept, segments.file)
    assert segments.append(line(3))
    assert segments.state.error is None
    assert segments.state.lost == 2
    assert ids(tmp_path) == [0, 3]
    for file in (kept, full):
        os.close(file)
    segments.close()


def test_a_line_that_was_cut_short_is_taken_back(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    segments = Segments(tmp_path, kind="log", rotation=LARGE)
    segments.append(line(0, 100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))  # the next write is cut in its middle
    try:
        assert not segments.append(line(1, 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert segments.append(line(2))
    assert ids(tmp_path) == [0, 2]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    segments = Segments(tmp_path / "file" / "folder", kind="log", rotation=LARGE)
    assert not segments.append(line(0))
    assert not segments.append(line(0))
    assert segments.state.lost == 2
    assert "cannot be written: Not a directory" in str(segments.state.error)


def test_the_newest_line_is_found_and_half_a_line_is_not(tmp_path: Path) -> None:
    segments = Segments(tmp_path, kind="log", rotation=Rotation(max_bytes=60, max_age_s=60, max_files=9))
    for number in (1, 2, 1):
        segments.append(b'{"id":"%d","n":%d}\n' % (number, segments.state.written))
        time.sleep(0.001)
    (tmp_path / "log-2.jsonl").write_bytes(b'{"id":"7","n')
    (tmp_path / "log-3.jsonl").write_bytes(b"")
    assert last_line_with(tmp_path, "log", b'{"id":"1",') == b'{"id":"1","n":2}'
    assert last_line_with(tmp_path, "log", b'{"id":"7",') is None
    assert last_line_with(tmp_path, "log", b'{"id":"3",') is None
