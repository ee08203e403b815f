import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.promotion.ledger import HEAD, LEDGER, append, entries, verify
from tests.patience import PATIENCE_S


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(1, 6):
        append(
            tmp_path, {"recipe": "tiny" if number % 2 else "other", "to": {"version": number}, "reason": "caf\u00e9"}
        )
    return tmp_path


def lines(root: Path) -> list[str]:
    return (root / LEDGER).read_text(encoding="utf-8").splitlines()


def write(root: Path, changed: list[str]) -> None:
    (root / LEDGER).write_text("".join(f"{line}\n" for line in changed), encoding="utf-8")


def said(root: Path) -> list[str]:
    return [fault.what for fault in verify(root)]


def test_lines_are_kept_in_order_and_the_chain_holds(root: Path) -> None:
    assert [entry["line"] for entry in entries(root)] == [1, 2, 3, 4, 5]
    assert [entry["to"]["version"] for entry in entries(root, "tiny")] == [1, 3, 5]
    assert entries(root)[0]["reason"] == "caf\u00e9"
    assert verify(root) == []
    assert verify(root / "elsewhere") == []


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_changed_line_is_named(root: Path, number: int) -> None:
    changed = lines(root)
    changed[number - 1] = changed[number - 1].replace(f'"version": {number}', '"version": 9')
    write(root, changed)
    (found,) = said(root)
    assert found.startswith(f"line {number} was changed")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: found[:1] + found[2:], "line 2 is missing"),
        (lambda found: found[:-1], "line 5 is missing"),
        (lambda found: found[:2], "lines 3 to 5 are missing"),
        (lambda found: [], "lines 1 to 5 are missing"),
        (lambda found: [*found[:2], found[1], *found[2:]], "line 2 comes again"),
        (lambda found: [*found[:2], "{}", *found[2:]], "line 3 was changed: it is no entry any more"),
    ],
)
def test_line_that_was_taken_out_or_put_in_is_named(root: Path, change: Callable[..., Any], expected: str) -> None:
    write(root, change(lines(root)))
    assert any(expected in found for found in said(root)), said(root)


def test_later_lines_do_not_hide_a_change(root: Path) -> None:
    changed = lines(root)
    changed[-1] = changed[-1].replace('"version": 5', '"version": 9')
    write(root, changed)
    append(root, {"recipe": "tiny", "to": {"version": 6}})
    (found,) = said(root)
    assert found.startswith("line 5 was changed")
    (root / LEDGER).unlink()
    append(root, {"recipe": "tiny", "to": {"version": 7}})
    assert "lines 1 to 6 are missing" in said(root)


def test_kill_between_a_line_and_the_head_loses_nothing(root: Path) -> None:
    before = (root / HEAD).read_bytes()
    append(root, {"recipe": "tiny", "to": {"version": 6}})
    (root / HEAD).write_bytes(before)
    assert verify(root) == []
    assert append(root, {"recipe": "tiny", "to": {"version": 7}})["line"] == 7
    assert verify(root) == []


def test_lines_beyond_the_head_are_told(root: Path) -> None:
    before = (root / HEAD).read_bytes()
    for number in (6, 7):
        append(root, {"recipe": "tiny", "to": {"version": number}})
    (root / HEAD).write_bytes(before)
    assert said(root) == [f"lines 6 to 7 were put in: {HEAD} ends with line 5"]
    (root / HEAD).unlink()
    assert "is missing: nothing tells whether line 7" in said(root)[0]


def test_half_a_line_of_a_power_cut_is_taken_off(root: Path) -> None:
    with (root / LEDGER).open("ab") as file:
        file.write(b'{"line": 6, "prev')
    assert verify(root) == []
    append(root, {"recipe": "tiny", "to": {"version": 6}})
    assert verify(root) == []
    assert len(lines(root)) == 6


def test_full_disk_leaves_whole_lines(root: Path) -> None:
    size = (root / LEDGER).stat().st_size
    code = (
        "import resource, signal, sys; from pathlib import Path; from components.promotion.ledger import append\n"
        "from components.plumbing.errors import DiskFullError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 50}, {size + 50}))\n"
        "try:\n    append(Path(sys.argv[1]), {'recipe': 'tiny', 'reason': 'x' * 500})\n"
        "except DiskFullError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert "no space left on the disk while writing" in done.stdout
    assert (root / LEDGER).stat().st_size == size
    assert verify(root) == []


def test_many_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.promotion.ledger import append\n"
        "for number in range(10): append(Path(sys.argv[1]), {'recipe': sys.argv[2], 'n': number})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [writer.wait(timeout=2 * PATIENCE_S) for writer in writers] == [0, 0, 0]
    assert verify(tmp_path) == []
    assert len(lines(tmp_path)) == 30
    assert [entry["n"] for entry in entries(tmp_path, "b")] == list(range(10))
    assert all(len(json.loads(line)["previous"]) == 64 for line in lines(tmp_path))
