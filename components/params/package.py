"""The section of package: the bundle, proved by serving it. `serving` is carried in the bundle, one a task."""

from typing import Annotated

from pydantic import Field

from components.params.section import Positive, Section
from components.params.tasks import Serving


class Package(Section):
    """package: the bundle, proved by serving it."""

    num_golden: Annotated[int, Field(ge=1, le=256)]
    """Requests that the served bundle is asked, at most; spread over the test split."""
    max_difference: Annotated[float, Field(gt=0)]
    """Between a number of a served answer and the measured one; words must be the same."""
    ready_timeout_s: Positive
    serving: Serving
