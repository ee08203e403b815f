import logging

import pytest

from components.plumbing.logs import configure_logging


@pytest.mark.parametrize(("name", "is_shown"), [("dvc.repo", False), ("dvc_data.index", False), ("urllib3", True)])
def test_what_dvc_shows_itself_is_not_shown_again(
    name: str, is_shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("components.plumbing.logs.OURS", ())
    configure_logging()
    logging.getLogger(name).warning("once")
    assert ("once" in capsys.readouterr().err) is is_shown
