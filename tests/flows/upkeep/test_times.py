"""What is due when, by the clock of a zone, whichever way that clock is changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from components.params import RunSchedule
from flows.upkeep.times import Due, every, times_of, when

BERLIN = ZoneInfo("Europe/Berlin")
BACK = datetime(2026, 10, 24, 22, tzinfo=BERLIN)
"""The evening before the night in which 3:00 becomes 2:00."""
FORWARD = datetime(2027, 3, 27, 22, tzinfo=BERLIN)
"""The evening before the night in which 2:00 becomes 3:00."""


def by_the_clock(interval_s: int, start: datetime, *, hours: int) -> list[str]:
    end = (start.astimezone(UTC) + timedelta(hours=hours)).astimezone(BERLIN)
    found = times_of(every(interval_s, "Europe/Berlin"), start=start, end=end)
    return [f"{time.astimezone(BERLIN):%d %H:%M%z}"[:-2] for time in found]


def test_days_begin_at_midnight_whichever_way_the_clock_is_changed() -> None:
    assert by_the_clock(86400, BACK, hours=60) == ["25 00:00+02", "26 00:00+01", "27 00:00+01"]
    assert by_the_clock(86400, FORWARD, hours=60) == ["28 00:00+01", "29 00:00+02", "30 00:00+02"]
    assert by_the_clock(7 * 86400, FORWARD, hours=7 * 24) == ["29 00:00+02"]  # a Monday


def test_a_quarter_of_a_day_keeps_to_the_hours_of_the_zone() -> None:
    assert by_the_clock(21600, BACK, hours=24) == ["25 00:00+02", "25 06:00+01", "25 12:00+01", "25 18:00+01"]
    assert by_the_clock(21600, FORWARD, hours=24) == ["28 00:00+01", "28 06:00+02", "28 12:00+02", "28 18:00+02"]


@pytest.mark.parametrize(("start", "missing"), [(BACK, ""), (FORWARD, "28 02")])
def test_short_intervals_leave_no_hour_out(start: datetime, missing: str) -> None:
    found = by_the_clock(1800, start, hours=10)
    assert len(found) == len(set(found)) == 21
    assert not missing or not any(time.startswith(missing) for time in found)
    assert all(time[-5:-3] in ("00", "30") for time in found)
    if start is BACK:
        assert {"25 02:00+02", "25 02:30+02", "25 02:00+01", "25 02:30+01"} < set(found)


def test_interval_does_not_begin_anew_with_the_worker() -> None:
    first, later = (
        list(times_of(every(90 * 60, "Asia/Kolkata"), start=start, end=datetime(2026, 5, 4, tzinfo=UTC)))
        for start in (datetime(2026, 5, 2, 7, 13, tzinfo=UTC), datetime(2026, 5, 3, 11, 47, tzinfo=UTC))
    )
    assert later
    assert set(later) < set(first)
    midnight = datetime(2026, 5, 3, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert midnight in first


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("0 3 * * *", BACK, ["25 03:00+01", "26 03:00+01"]),
        ("0 3 * * *", FORWARD, ["28 03:00+02", "29 03:00+02"]),
        # In the hour that comes twice once, the first time; in the one that there is not, an hour before.
        ("30 2 * * *", BACK, ["25 02:30+02", "26 02:30+01"]),
        ("30 2 * * *", FORWARD, ["28 01:30+01", "29 02:30+02"]),
    ],
)
def test_cron_keeps_to_its_zone_and_is_due_once_a_day(cron: str, start: datetime, expected: list[str]) -> None:
    schedule = RunSchedule(cron=cron, timezone="Europe/Berlin", limit_s=60)
    made = when(Due("retrain", "tiny", schedule))
    found = times_of(made, start=start, end=start + timedelta(days=2))
    assert [f"{time.astimezone(BERLIN):%d %H:%M%z}"[:-2] for time in found] == expected
