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
from tests.patience import wait_until
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
        wait_until(lambda: caplog.messages)
    assert re.match(r"compress@tiny goes on, for \d+ s so far", caplog.messages[0])


def test_no_line_lands_in_the_bar(tmp_path: Path) -> None:
    often = "import components.plumbing.progress as p; p.DRAWN_PER_S = 20\n" + STAGE
    code, seen = on_terminal([sys.executable, "-c", FLOW, often], tmp_path, PYTHONPATH=str(ROOT))
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
    assert with_bar
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
    assert any(line.startswith("finetune ") and "/40  loss 0.5" in line and line.endswith(" left") for line in lines)
    assert sum("epoch" in line for line in lines) == 4


FIGURES = {"loss": 0.5123, "lr": 3.14e-5, "norm": 1.234, "tokens/s": 12345.6, "mfu": 0.573}
PLAYERS = {"loss": (0.6931, 1.25), "lr": (2e-4, 1e-4), "norm": (0.0312, 11.5), "rows/s": 1234.0, "mfu": 0.05}


@pytest.mark.parametrize(
    ("width", "count", "figures", "line"),
    [
        (
            120, "1234/3450", FIGURES,
            "finetuning ━━━━━━━━━━ 1234/3450 loss 0.512  lr 3.14e-05  norm 1.23  tokens/s 12,346  mfu 57% 12:34 left",
        ),
        (
            98, "1234/3450", FIGURES,
            "finetuning 1234/3450 loss 0.512  lr 3.14e-05  norm 1.23  tokens/s 12,346  mfu 57% 12:34 left",
        ),
        (
            82, "1234/3450", FIGURES,
            "finetuni… 1234/3450 loss 0.512 lr 3.14e-05 norm 1.23 tokens/s 12,346 mfu 57% 12:34",
        ),
        (80, "1234/3450", FIGURES, "1234/3450 loss 0.512 lr 3.14e-05 norm 1.23 tokens/s 12,346 mfu 57% 12:34"),
        (76, "1234567/3450000", FIGURES, "1234567/3450000 loss 0.51 lr 3.1e-05 norm 1.2 tokens/s 12k mfu 57% 12:34"),
        (60, "1234/3450", FIGURES, "1234/3450 loss 0.51 lr 3.1e-05 norm 1.2 tokens/s 12k 12:34"),
        (30, "1234/3450", FIGURES, "1234/3450 loss 0.51 12:34"),
        (10, "1234/3450", FIGURES, "1234/3450 "),
        (
            100, "1234/3450", PLAYERS,
            "finetuning 1234/3450 loss 0.693/1.25 lr 0.0002/0.0001 norm 0.0312/11.5 rows/s 1,234 mfu 5% 12:34",
        ),
        (80, "1234/3450", PLAYERS, "1234/3450 loss 0.69/1.2 lr 0.0002/0.0001 norm 0.031/12 rows/s 1.2k mfu 5% 12:34"),
    ],
)  # fmt: skip
def test_line_of_a_training_holds_what_the_terminal_has_room_for(
    width: int, count: str, figures: dict[str, progress.Figure], line: str
) -> None:
    title, bar, rest = fitted_line("finetuning", count, figures, time_left(754), width=width)
    assert " ".join(filter(None, [title, f"{bar}{rest}"])) == line
    assert len(line) <= width


def test_time_left_is_that_of_the_steps_of_this_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    monkeypatch.setattr(progress, "TICK_S", 0.0)
    with caplog.at_level(logging.INFO):
        bar = progress.Bar("finetune", 1000, None, done=900)
        bar.say_if_due()
        time.sleep(0.05)
        bar.update(901, {"loss": 0.5})
    assert caplog.messages[0] == "finetune 900/1000    -:-- left"
    said = re.fullmatch(r"finetune 901/1000  loss 0.5  (\d+):(\d\d) left", caplog.messages[1])
    assert said is not None, caplog.messages
    assert 60 * int(said[1]) + int(said[2]) >= 4  # of the steps from 901 on; with those before, it would be none


def test_narrow_terminal_cuts_the_bar(tmp_path: Path) -> None:
    code, seen = on_terminal([sys.executable, "-c", STAGE], tmp_path, columns=44, PYTHONPATH=str(ROOT))
    assert code == 0
    assert not any("━" in line for line in seen[-1])
    assert all("━" not in line for lines in seen for line in lines[:-1])
