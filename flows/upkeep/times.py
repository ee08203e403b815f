"""The times at which something is due: a schedule of params.yaml in Prefect's terms, and the times that come of it.

A schedule keeps to the clock of its zone. An interval counts from Monday, 2024-01-01, 0:00 there, never from the start
of a worker: what is due daily is due at midnight, however often the machine starts anew.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from components.params import RunSchedule
from components.plumbing.errors import ParamsError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

ANCHOR = datetime(2024, 1, 1)  # in the schedule's zone
HOUR_S, DAY_S = 3600, 86400
MAX_TIMES = 1000
"""The most times of a schedule that Prefect looks at."""


@dataclass(frozen=True)
class Due:
    """A flow that is run again and again for one recipe."""

    flow: Literal["retrain", "monitor", "sweep"]
    recipe: str
    schedule: RunSchedule

    @property
    def key(self) -> str:
        """The schedule's place below the recipe in params.yaml."""
        return {"retrain": "schedule", "monitor": "monitoring.schedule", "sweep": "sweep.schedule"}[self.flow]

    def __str__(self) -> str:
        return f"{self.flow} {self.recipe}"


def when(due: Due) -> "Schedule":
    """Return a schedule in Prefect's terms; ParamsError where Prefect cannot read its cron expression."""
    from prefect.schedules import Cron

    schedule = due.schedule
    if schedule.interval_s is not None:
        return every(schedule.interval_s, schedule.timezone)
    assert schedule.cron is not None
    try:
        made = Cron(schedule.cron, timezone=schedule.timezone)
    except ValueError as error:
        raise ParamsError(
            f"recipes.{due.recipe}.{due.key}.cron is '{schedule.cron}', which is no cron expression ({error}); for "
            "example '0 3 * * 1-5'"
        ) from error
    return made


def every(interval_s: int, timezone: str) -> "Schedule":
    """Return an interval, in seconds, as a schedule that keeps to the clock of a zone.

    Whole days, and hours that divide a day, keep to the hours of the zone: two runs are an hour further apart, or
    nearer, where the clock is put back or forward. All others keep to what has passed, so that none is left out in the
    hour that comes twice.
    """
    from prefect.schedules import Interval, RRule

    start = f"DTSTART:{ANCHOR:%Y%m%dT%H%M%S}"
    if interval_s % DAY_S == 0:
        return RRule(f"{start}\nRRULE:FREQ=DAILY;INTERVAL={interval_s // DAY_S}", timezone=timezone)
    if interval_s > HOUR_S and interval_s % HOUR_S == 0 and DAY_S % interval_s == 0:
        return RRule(f"{start}\nRRULE:FREQ=HOURLY;INTERVAL={interval_s // HOUR_S}", timezone=timezone)
    anchor = ANCHOR.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    return Interval(timedelta(seconds=interval_s), anchor_date=anchor, timezone="UTC")


def times_of(schedule: Any, *, start: datetime, end: datetime | None = None) -> Generator[datetime]:
    """Yield the times of one of Prefect's schedules from `start` on: the first, or those until `end`, at most
    MAX_TIMES; none where it has none."""
    import asyncio

    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    if cron := getattr(schedule, "cron", None):  # the server gives the fields of one kind alone
        known: Any = CronSchedule(cron=cron, timezone=schedule.timezone)
    elif interval := getattr(schedule, "interval", None):
        known = IntervalSchedule(interval=interval, anchor_date=schedule.anchor_date, timezone=schedule.timezone)
    else:
        known = RRuleSchedule(rrule=schedule.rrule, timezone=schedule.timezone)
    try:
        found: list[datetime] = asyncio.run(known.get_dates(n=MAX_TIMES if end else 1, start=start, end=end))
    except ValueError:  # cron names no day that there is
        return
    yield from found


def described(schedule: RunSchedule) -> str:
    """Return when a schedule is due, in words."""
    often = f"every {schedule.interval_s:,} s" if schedule.cron is None else f"'{schedule.cron}' in {schedule.timezone}"
    return f"{often}, at most {schedule.limit_s:,} s"
