"""Schedules that fall due, for real: every minute, with a worker and a server that are killed meanwhile."""

from pathlib import Path

import pytest

from tests.soak import soak

MINUTES, KILLS = 4, 2
JUDGED = ("Nothing new", "Too few", "Steady", "Drift")
"""The names of the states that a monitor's run gives itself: after a new version few answers are there to judge."""


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_every_time_that_falls_due_is_accounted_for(tmp_path: Path) -> None:
    account = soak(tmp_path / "project", minutes=MINUTES, kills=KILLS, seed=3, monitor_s=60, retrain_s=120)
    assert [kill.split(" ", 1)[1] for kill in account.kills] != []
    assert account.missing == [], account
    assert account.open_runs == [], account
    assert account.became["monitor left to the next"] <= 1 + KILLS, account  # at most one each time a worker starts
    assert account.due == {"monitor": MINUTES, "retrain": MINUTES // 2}
    assert any(account.became[f"monitor {name}"] for name in JUDGED), account
    assert account.became["retrain Completed"], account
    assert account.ledger["adopt"] == 1
