"""The bar and the log share one terminal, of several processes; a pipe gets plain lines."""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.plumbing import progress
from components.plumbing.progress import fitted_line, time_left
from tests.projects import ROOT, environment
from tests.terminal import on_terminal

# A stage with a bar, and one within it, that logs, prints and warns; the process that started it logs meanwhile, as a
# flow does.
STAGE = """
import logging, sys, time, warnings
from components.plumbing.logs import configure_logging
from components.plumbing.progress import progress
configure_logging()
log = logging.getLogger("components.training")
with progress("finetune", total=40) as bar:
    for step in range(40):
        bar.update(step + 1, {"loss": 0.5, "lr": 1.0e-3, "rows/s": 12345.0, "mfu": 0.573})
        time.sleep(0.03)
        if step % 10 == 9:
            log.info("epoch %d of 4  train_loss 0.5  validation_loss 0.25  validation_accuracy 0.9  f1_macro 0.9", step)
    with progress("inner", total=2) as inner:
        inner.update(1)
        log.info("said within")
        time.sleep(0.2)
    print("printed", file=sys.stderr)
    logging.getLogger("some.library").warning("a warning")
log.info("took 1 s")
"""
FLOW = """
import logging, subprocess, sys, time
from components.plumbing.logs import configure_logging
configure_logging()
log = logging.getLogger("flows")
log.info("finetune   starts")
stage = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
while stage.poll() is None:
    time.sleep(0.23)
    log.info("flow says")
log.info("finetune   ran")
"""


def test_long_work_that_says_nothing_is_said_to_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SILENCE_S", 0.04)
    with caplog.at_level(logging.INFO), progress.going_on("compress@tiny"):
        time.sleep(0.15)
    assert caplog.messages
    assert caplog.messages[0].startswith("compress@tiny goes on, for 0 s so far")


def test_no_line_lands_in_the_bar(tmp_path: Path) -> None:
    code, seen = on_terminal([sys.executable, "-c", FLOW, STAGE], tmp_path, PYTHONPATH=str(ROOT))
    assert code == 0
    last = seen[-1]
    said = [line for line in last if line != "flow says"]
    epochs = [
        line
        for step in (9, 19, 29, 39)
        for line in (
            f"epoch {step} of 4  train_loss 0.5  validation_loss 0.25  validation_accuracy 0.9",
            "    f1_macro 0.9",
        )
    ]
    assert said == ["finetune   starts", *epochs, "said within", "printed", "a warning", "took 1 s", "finetune   ran"]
    assert last.count("flow says") > 3
    with_bar = [(lines, [line for line in lines if "━" in line]) for lines in seen if any("━" in x for x in lines)]
    assert len(with_bar) > 10
    for lines, bars in with_bar:
        assert bars == [lines[-1]], lines  # one, and below what was logged
        assert lines[-1].startswith(("finetune ━", "finetune ╸", "inner"))
        assert "says" not in lines[-1]
    whole = re.compile(r"^finetune ━+ \d+/40 loss 0.5  lr 0.001  rows/s 12,345  mfu 57% \d:\d\d left$")
    assert any(whole.search(bars[0]) for _, bars in with_bar)


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import components.plumbing.progress as p; p.INTERVAL_S = 0.5\n" + STAGE],
        cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert any(line.startswith("finetune ") and "/40  loss 0.5" in line and line.endswith(" s left") for line in lines)
    assert sum("epoch" in line for line in lines) == 4


FIGURES = ("loss 0.512", "lr 3e-05", "norm 1.23", "tokens/s 12,345", "mfu 57%")


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            120,
            "finetune model ━━━━━━━━━━ 1234/3450 loss 0.512  lr 3e-05  norm 1.23  tokens/s 12,345  mfu 57% 12:34 left",
        ),
        (100, "finetune model 1234/3450 loss 0.512  lr 3e-05  norm 1.23  tokens/s 12,345  mfu 57% 12:34 left"),
        (80, "finetune… 1234/3450 loss 0.512 lr 3e-05 norm 1.23 tokens/s 12,345 mfu 57% 12:34"),
        (60, "finetune… 1234/3450 loss 0.512 lr 3e-05 norm 1.23 12:34"),
        (20, "finetune… 1234/3450 "),
    ],
)
def test_line_of_a_training_holds_what_the_terminal_has_room_for(width: int, line: str) -> None:
    title, bar, rest = fitted_line("finetune model", "1234/3450", FIGURES, time_left(754), width=width)
    assert f"{title} {bar}{rest}" == line
    assert len(line) <= width


def test_narrow_terminal_cuts_the_bar(tmp_path: Path) -> None:
    code, seen = on_terminal([sys.executable, "-c", STAGE], tmp_path, columns=44, PYTHONPATH=str(ROOT))
    assert code == 0
    assert not any("━" in line for line in seen[-1])
    assert all("━" not in line for lines in seen for line in lines[:-1])
