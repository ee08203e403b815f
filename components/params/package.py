"""The section of package, the stage that proves the bundle by serving it; the bundle carries `serving` along."""

from typing import Annotated

from pydantic import Field

from components.params.section import Positive, Section
from components.params.tasks import Serving


class Package(Section):
    """The section of the stage package."""

    num_golden: Annotated[int, Field(ge=1, le=256)]
    """The most requests, spread over the test split, that check the served bundle."""
    max_difference: Annotated[float, Field(gt=0)]
    """The largest difference between a number of a served answer and the measured one; words must be identical."""
    ready_timeout_s: Positive
    serving: Serving
