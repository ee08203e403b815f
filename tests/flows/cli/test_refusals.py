import errno
import os

import pytest

from flows.cli import explained


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_what_the_machine_refuses_is_no_fault_of_ours(code: int) -> None:
    said = explained(OSError(code, os.strerror(code), "/project/.modelyard"))
    assert said.startswith(f"/project/.modelyard: {os.strerror(code)}; mend that and run again")


def test_other_errors_are_told_as_faults() -> None:
    assert explained(ValueError("a\nb")) == "a fault of its own: ValueError: a b; --debug shows where"
