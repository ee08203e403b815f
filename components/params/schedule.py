"""The schedule by which a recipe is retrained (`schedule`) or its traffic is judged (`monitoring.schedule`).

It is no stage, so DVC does not know it.
"""

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, model_validator

from components.params.section import Section
from components.plumbing.errors import did_you_mean

NUM_CRON_FIELDS = 5


class RunSchedule(Section):
    """The times of a repeated run, given by exactly one of `cron` and `interval_s`."""

    cron: str | None = None
    """A cron expression of minute, hour, day of month, month and day of week: `0 3 * * 1-5` is 3 at night before each
    working day."""
    interval_s: Annotated[int, Field(ge=60)] | None = None
    """The seconds from one start to the next."""
    timezone: str
    """The time zone, with its summer time, in which the times are meant: `Europe/Berlin`, `UTC`."""
    limit_s: Annotated[int, Field(ge=60)]
    """The most seconds of a run, after which it is stopped and reported; waiting for another run of the recipe does not
    count."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "RunSchedule":
        if (self.cron is None) == (self.interval_s is None):
            raise ValueError("schedule takes cron or interval_s, one of the two")
        if self.cron is not None and len(self.cron.split()) != NUM_CRON_FIELDS:
            raise ValueError(
                f"cron '{self.cron}' has {len(self.cron.split())} fields; it needs {NUM_CRON_FIELDS}: minute, hour, "
                "day of month, month, day of week"
            )
        if self.cron is not None:
            from cronsim import CronSim, CronSimError  # here, since a machine that only trains reads no cron

            try:
                next(CronSim(self.cron, datetime.now()))
            except (CronSimError, StopIteration) as error:
                why = str(error)[:1].lower() + str(error)[1:] or "no day is ever the one that it names"
                raise ValueError(f"'{self.cron}' is no cron expression ({why}); for example '0 3 * * 1-5'") from error
        try:
            ZoneInfo(self.timezone)
        except (OSError, ValueError, LookupError):
            near = did_you_mean(self.timezone, available_timezones())
            raise ValueError(f"timezone '{self.timezone}' is not known{near}; 'Europe/Berlin' and 'UTC' are") from None
        return self
