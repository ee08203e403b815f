"""The section of package: the bundle, proved by serving it. `serving` is carried in the bundle, one a task."""

from typing import Annotated

from pydantic import Field

from components.params.section import Positive, Section
from components.params.tasks import Serving


class Package(Section):
    """package: the bundle, proved by serving it."""

    num_golden: Annotated[int, Field(ge=1, le=256)]
    """The most requests, spread over the test split, with which the served bundle is checked."""
    max_difference: Annotated[float, Field(gt=0)]
    """The most by which a number of a served answer may differ from the measured one; words must be the same."""
    ready_timeout_s: Positive
    serving: Serving
