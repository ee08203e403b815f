"""A terminal for tests: a command on a pseudo-terminal, and what would be on the screen."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from tests.projects import environment

PIECE = re.compile(r"\x1b\[\??([\d;]*)([a-zA-Z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """The lines of a terminal that wraps and never scrolls away: enough for what clears lines and goes up."""

    def __init__(self, columns: int) -> None:
        self.columns, self.row, self.column = columns, 0, 0
        self.rows: list[str] = [""]

    def feed(self, text: str) -> None:
        for piece in PIECE.finditer(text):
            said, number = piece.group(0), int((piece.group(1) or "1").split(";")[0] or 1)
            if said == "\r":
                self.column = 0
            elif said == "\n":
                self._to(self.row + 1)
            elif piece.group(2) == "A":
                self._to(max(0, self.row - number))
            elif piece.group(2) == "K":
                self.rows[self.row] = "" if number == 2 else self.rows[self.row][: self.column]
            elif piece.group(2) is None:
                self._write(said)

    def _write(self, text: str) -> None:
        for letter in text:
            if self.column == self.columns:
                self._to(self.row + 1)
                self.column = 0
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1

    def _to(self, row: int) -> None:
        self.row = row
        self.rows += [""] * (row + 1 - len(self.rows))

    @property
    def lines(self) -> list[str]:
        """Without the empty ones at the end."""
        lines = [row.rstrip() for row in self.rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def on_terminal(
    command: list[str], folder: Path, *, columns: int = 80, timeout_s: float = 300, **extra: str
) -> tuple[int, list[list[str]]]:
    """The exit code of a command on a terminal, and what the screen showed after each piece that was written."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = environment(TERM="xterm-256color", **extra)
    variables.pop("COLUMNS", None)
    process = subprocess.Popen(
        command, cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    screen, seen, rest = Screen(columns), [[""]], b""
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # nobody has the terminal open any more
            break
        if not got:
            break
        rest += got
        whole, rest = whole_of(rest)
        screen.feed(whole)
        seen.append(screen.lines)
    os.close(ours)
    return process.wait(timeout=timeout_s), seen


def whole_of(read: bytes) -> tuple[str, bytes]:
    """What can be read of it now, and what may be cut in the middle of a character or of a control code."""
    cut = max(read.rfind(b"\x1b"), 0)
    end = len(read)
    if b"\x1b" in read and not re.match(rb"\x1b\[\??[\d;]*[a-zA-Z]", read[cut:]):
        end = cut
    while end:
        try:
            return read[:end].decode(), read[end:]
        except UnicodeDecodeError as error:
            end = error.start
    return "", read
